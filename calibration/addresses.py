"""Where published files are to be had over plain HTTPS, each with the place that states address and checksum.

An address or a checksum that was found stated nowhere is not here. None of them was tried from where this was written: there
was no network. What a server says is checked as it comes (see `calibration.download`).
"""

from calibration.download import Download

PBC = (
    # The public-files link of the one file of https://data.mendeley.com/datasets/snkd93bnjr/1. That page shows a SHA-256
    # beside the file; it was found repeated nowhere, so compare it by eye with what `fetch` prints.
    Download(
        url="https://data.mendeley.com/public-files/datasets/snkd93bnjr/files/2fc38728-2ae7-4a62-a857-032af82334c3/file_downloaded",
        name="PBC_dataset_normal_DIB.zip",
    ),
)


def _bloodmnist(name: str, md5: str) -> Download:
    """MedMNIST's own table, medmnist/info.py of version 3, states address and MD5 (record https://zenodo.org/records/10519652)."""
    return Download(url=f"https://zenodo.org/records/10519652/files/{name}?download=1", name=name, checksum=f"md5:{md5}")


BLOODMNIST = {
    28: _bloodmnist("bloodmnist.npz", "7053d0359d879ad8a5505303e11de1dc"),
    64: _bloodmnist("bloodmnist_64.npz", "2b94928a2ae4916078ca51e05b6b800b"),
    128: _bloodmnist("bloodmnist_128.npz", "adace1e0ed228fccda1f39692059dd4c"),
    224: _bloodmnist("bloodmnist_224.npz", "b718ff6835fcbdb22ba9eacccd7b2601"),
}
"""By the side of the images in pixels."""

BALF = (
    # Addresses as the loader of torch-em states them, without checksums; Zenodo sends its own MD5 along (ETag).
    Download(url="https://zenodo.org/records/14871206/files/Images.rar", name="balf/Images.rar"),
    Download(url="https://zenodo.org/records/14871206/files/Labels.rar", name="balf/Labels.rar"),
)

TXL_PBC = (
    # The authors' repository at one commit, at GitHub's address for the archive of a commit. Such archives are made when they
    # are asked for: no checksum is published, and GitHub does not promise the same bytes for ever.
    Download(
        url="https://github.com/lugan113/TXL-PBC_Dataset/archive/bcafb7af67467b02b3bac19a95d0e43ebcc5b983.zip",
        name="txl_pbc.zip",
    ),
)
