"""Runs a plan: two sets of buffers, one stream, so that a batch is taken in while the one before it is computed.

    submit: wait for this set's older batch -> copy into page-locked memory -> [to the device, infer, to the host] -> event
    result:                                                       wait for the event -> copy out, the caller's own

The part in brackets runs on the device, in the stream, one batch after the other. With two sets the host's copies, and whatever
the caller does between batches, overlap it; the device's own copies do not: that would take a second stream.
A shape that comes back is captured as a CUDA graph, launched at once instead of kernel by kernel. A graph is only valid while
the context that it was captured from stays as it was, so each has a context of its own; all share one memory for activations.
"""

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgecell.engines.trt.buffers import Buffers, Scratch
from edgecell.engines.trt.cuda import Cuda, not_freed
from edgecell.engines.trt.library import Library
from edgecell.engines.trt.network import Context, Network, Profile, Shape
from edgecell.errors import EngineError, InferenceError

if TYPE_CHECKING:
    from typing_extensions import Self

SETS = 2
GRAPHS_OF_A_SET = 16
"""Each holds a context of TensorRT. Shapes that come later run without a graph."""
SHAPES_REMEMBERED = 256

Outputs = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Captured:
    graph: int
    context: Context
    outputs: Mapping[str, Shape]


class _Set:
    """Buffers for one batch on its way, the event at its end, and the graphs that were captured on these buffers."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self.buffers = Buffers(cuda)
        self.pending: Answer | None = None
        self.graphs: dict[Shape, _Captured] = {}
        self.seen: set[Shape] = set()
        self.event = cuda.event()

    def drop_graphs(self) -> None:
        while self.graphs:
            captured = self.graphs.popitem()[1]
            self._cuda.free_graph(captured.graph)
            captured.context.close()

    def close(self) -> None:
        self.buffers.close()
        self._cuda.free_event(self.event)


class Answer:
    """A batch on its way: see `edgecell.protocols.Pending`."""

    def __init__(self, execution: "Execution", of: _Set, shapes: Mapping[str, Shape]) -> None:
        self._execution, self._of, self.shapes = execution, of, shapes
        self.outputs: Outputs | None = None
        self.error: InferenceError | None = None

    def result(self) -> Outputs:
        """Wait for the outputs, float32, the caller's own. Raises InferenceError."""
        if self.outputs is None and self.error is None:
            self._execution.settle(self._of)
        if self.outputs is None:
            raise self.error or InferenceError("the batch has no answer", fix="start again")
        return self.outputs


class Execution:
    """One plan on one device, ready between `with` and its end; to be used on one thread at a time.

    Raises EngineBuildError when TensorRT refuses the plan, InferenceError when the device has not the memory for it.
    """

    def __init__(self, library: Library, plan: bytes, cuda: Cuda, *, graphs: bool = True) -> None:
        """graphs: whether CUDA graphs may be used; they are not where the binding has none."""
        self._network = Network(library, plan)
        self._cuda = cuda
        self._graphs = graphs and cuda.graphs
        self._owned = ExitStack()
        self._sets: list[_Set] = []
        self._turn = 0

    def __enter__(self) -> "Self":
        """What is taken first goes last: contexts, then the engine, then buffers and stream."""
        with self._cuda.current(), ExitStack() as owned:
            self._stream = self._cuda.stream()
            owned.callback(self._cuda.free_stream, self._stream)
            self._scratch = Scratch(self._cuda)
            owned.callback(self._scratch.close)
            owned.callback(self._sets.clear)
            for _ in range(SETS):
                self._sets.append(_Set(self._cuda))
                owned.callback(self._sets[-1].close)
            owned.enter_context(self._network)
            self._context = self._network.context(self._stream)
            owned.callback(self._context.close)
            owned.callback(self._drop_graphs)
            owned.callback(self._abandon)
            for each in self._sets:
                self._fit(self._context, each, self.profile.first)
            self._owned = owned.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as entered:
            try:
                entered.enter_context(self._cuda.current())
            except InferenceError as error:
                not_freed(error)  # and yet what can be freed is
            self._owned.close()

    @property
    def input(self) -> str:
        """The name of the input."""
        return self._network.input

    @property
    def profile(self) -> Profile:
        """The shapes that the input may have."""
        return self._network.profile

    @property
    def outputs(self) -> dict[str, Shape]:
        """The outputs' shapes by name, N left out; 0 is an axis that follows the size of the input."""
        return self._network.output_shapes()

    def infer(self, batch: NDArray[np.float32]) -> Outputs:
        """float32 (N, C, H, W) -> every output, float32, N in front, the caller's own. N may be 0. Raises InferenceError."""
        return self.submit(batch).result()

    def submit(self, batch: NDArray[np.float32]) -> Answer:
        """Start on a batch, when the one before the last is done. It may be changed afterwards. Raises InferenceError."""
        self._check(batch)
        each = self._sets[self._turn]
        with self._cuda.current():
            if not len(batch):
                return self._empty(each, batch.shape)
            self.settle(each)
            try:
                shapes = self._run(each, batch)
                self._cuda.record(each.event, self._stream)
            except BaseException:
                self._drain()  # what was begun still uses these buffers
                raise
        self._turn = (self._turn + 1) % SETS
        each.pending = Answer(self, each, shapes)
        return each.pending

    def settle(self, of: _Set) -> None:
        """Wait for what is on its way in a set of buffers, and give its answer what it owns: outputs, or an error."""
        answer, of.pending = of.pending, None
        if answer is None:
            return
        try:
            with self._cuda.current():
                self._cuda.wait_event(of.event)
            answer.outputs = {name: of.buffers.view(name, shape).copy() for name, shape in answer.shapes.items()}
        except InferenceError as error:
            answer.error = error

    def _check(self, batch: NDArray[np.float32]) -> None:
        if not self._sets:
            raise InferenceError("the plan is not open", fix="use it inside its `with` block")
        least = max(len(batch), self.profile.least[0]) if batch.ndim else 0
        problem = self.profile.problem((least, *batch.shape[1:])) if batch.dtype == np.float32 else "it must be float32"
        if problem:
            fix = f"give float32 (N, C, H, W) as the bundle's manifest says, at most {self.profile.most[0]} at a time"
            raise InferenceError(f"a batch {batch.dtype} {batch.shape} does not fit the plan: {problem}", fix=fix)

    def _empty(self, of: _Set, shape: Shape) -> Answer:
        """The answer to no cells: nothing runs, but outputs have their shapes."""
        shapes, _ = self._context.reshape((self.profile.least[0], *shape[1:]))
        answer = Answer(self, of, shapes)
        answer.outputs = {name: np.zeros((0, *each[1:]), np.float32) for name, each in shapes.items()}
        return answer

    def _run(self, of: _Set, batch: NDArray[np.float32]) -> Mapping[str, Shape]:
        """Put a batch into the stream: the outputs' shapes."""
        shape = batch.shape
        captured = of.graphs.get(shape)
        if captured:
            np.copyto(of.buffers.view(self.input, shape), batch)
            self._cuda.launch(captured.graph, self._stream)
            return captured.outputs
        outputs = self._fit(self._context, of, shape)
        np.copyto(of.buffers.view(self.input, shape), batch)
        self._enqueue(self._context, of, shape, outputs)
        if self._graphs and shape in of.seen and len(of.graphs) < GRAPHS_OF_A_SET:
            self._capture(of, shape, outputs)
        elif len(of.seen) < SHAPES_REMEMBERED:
            of.seen.add(shape)
        return outputs

    def _fit(self, context: Context, of: _Set, shape: Shape) -> Mapping[str, Shape]:
        """Set a context's shape and see that there is room for it. What grows moves, and no graph survives that."""
        outputs, needed = context.reshape(shape)
        shapes = {self.input: shape, **outputs}
        if needed > self._scratch.size:
            self._cuda.wait_stream(self._stream)
            self._drop_graphs()
            self._scratch.grow(needed)
        if not of.buffers.holds(shapes):
            self._cuda.wait_stream(self._stream)
            of.drop_graphs()
            of.buffers.grow(shapes)
        context.lend(self._scratch.address, self._scratch.size)
        return outputs

    def _enqueue(self, context: Context, of: _Set, shape: Shape, outputs: Mapping[str, Shape]) -> None:
        of.buffers.send(self.input, shape, self._stream)
        context.enqueue(of.buffers.addresses, self._stream)
        for name, each in outputs.items():
            of.buffers.fetch(name, each, self._stream)

    def _capture(self, of: _Set, shape: Shape, outputs: Mapping[str, Shape]) -> None:
        """Keep a graph of this shape for the next time. It ran before on these buffers, so there is room.

        Whatever fails here switches graphs off, and the batch that is under way is not harmed.
        """
        try:
            context = self._network.context(self._stream)
        except EngineError as error:
            self._switch_off(error)
            return
        try:
            self._fit(context, of, shape)
            context.enqueue(of.buffers.addresses, self._stream)  # TensorRT wants a run of this shape before a capture
            of.graphs[shape] = _Captured(graph=self._noted(context, of, shape, outputs), context=context, outputs=outputs)
        except EngineError as error:
            self._drain()  # its run may still be under way
            context.close()
            self._switch_off(error)

    def _noted(self, context: Context, of: _Set, shape: Shape, outputs: Mapping[str, Shape]) -> int:
        self._cuda.begin_capture(self._stream)
        try:
            self._enqueue(context, of, shape, outputs)
        except BaseException:
            self._leave_capture()
            raise
        return self._cuda.end_capture(self._stream)

    def _leave_capture(self) -> None:
        try:
            self._cuda.free_graph(self._cuda.end_capture(self._stream))
        except InferenceError as error:
            _log().debug("%s", error.what)

    def _switch_off(self, error: EngineError) -> None:
        self._graphs = False
        _log().warning("CUDA graphs are switched off, batches run without: %s", error.what)

    def _drop_graphs(self) -> None:
        for each in self._sets:
            each.drop_graphs()

    def _abandon(self) -> None:
        """Wait for what is under way; who still wants its result gets an error."""
        self._drain()
        for each in self._sets:
            if each.pending:
                each.pending.error = InferenceError("the plan was closed before the result was asked for", fix="ask earlier")
            each.pending = None

    def _drain(self) -> None:
        """Wait until nothing uses the buffers; an error of the device comes again wherever it matters."""
        try:
            self._cuda.wait_stream(self._stream)
        except InferenceError as error:
            _log().debug("%s", error.what)


def _log() -> logging.Logger:
    return logging.getLogger("edgecell")
