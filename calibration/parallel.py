"""Several processes, on one machine or several, that train one network together under PyTorch's `torchrun`.

Every process holds the whole network and takes its share of every batch; the gradients are added up, so that all take the
same step. Batch norm is the one layer that looks at other cells than its own, and the statistics of a share would depend on
how many processes there are. So the first epoch is trained by every process alike, on whole batches with ordinary batch norm,
and after it the running statistics are frozen. What dropout draws is each process's own.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """rank: of this process, from 0; the first one writes what there is to write. size: how many processes there are.

    launched: by torchrun, be it with one process only: then training does not depend on their number.
    """

    rank: int = 0
    size: int = 1
    launched: bool = False

    @property
    def first(self) -> bool:
        return self.rank == 0


ALONE = Group()


@contextmanager
def joined() -> Iterator[Group]:
    """The group that torchrun started this process in; without torchrun the process is alone."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield ALONE
        return
    dist.init_process_group("gloo")
    if dist.get_rank():
        logging.getLogger("edgecell").setLevel(logging.WARNING)  # the first one says what there is to say
    try:
        yield Group(rank=dist.get_rank(), size=dist.get_world_size(), launched=True)
        dist.barrier()  # who leaves while another still talks makes that one's connection end in an abort
    finally:
        dist.destroy_process_group()


@contextmanager
def first_here() -> Iterator[None]:
    """Inside, the first process of each machine goes ahead of the others, which then find the files that it wrote."""
    ahead = os.environ.get("LOCAL_RANK", "0") == "0"
    if dist.is_initialized() and not ahead:
        dist.barrier()
    yield
    if dist.is_initialized() and ahead:
        dist.barrier()


def told(value: Any, group: Group) -> Any:
    """The first process's value, on all of them."""
    if group.size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def add_up(tensors: Sequence[torch.Tensor], group: Group) -> None:
    """Replace each tensor by its sum over the processes, which is the same to the bit on all of them."""
    if group.size == 1:
        return
    flat = torch.cat([each.flatten() for each in tensors])
    dist.all_reduce(flat)
    at = 0
    for each in tensors:
        each.copy_(flat[at : at + each.numel()].view(each.shape))
        at += each.numel()


def level(model: nn.Module, group: Group) -> None:
    """The first process's weights and statistics on all of them: unlike machines may have drifted apart by a last bit."""
    if group.size > 1:
        for each in model.state_dict().values():
            plain = each.contiguous()
            dist.broadcast(plain, src=0)
            each.copy_(plain)


def freeze(model: nn.Module) -> None:
    """Let batch norm use its running statistics as they are, while everything else goes on training."""
    for each in model.modules():
        if isinstance(each, nn.modules.batchnorm._BatchNorm):
            each.eval()
