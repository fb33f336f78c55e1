"""CUDA devices: how many there are to use, what all processes of a run agree on, what a device cannot do."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from alexnet_zoo.errors import UserError


def cuda_devices(wanted: str = "auto") -> int:
    """Count the CUDA devices to use here: none where `wanted` is "cpu".

    UserError where it is "cuda" and there is none.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device {wanted}: must be auto, cpu or cuda", exit_code=2)
    found = torch.cuda.device_count() if wanted != "cpu" and torch.cuda.is_available() else 0
    if wanted == "cuda" and not found:
        raise UserError("--device cuda: torch finds no usable CUDA device here; use --device cpu")
    return found


def agree(machines: list[tuple[int, int]]) -> tuple[str, str]:
    """The type of device and the backend for a run on machines of (CUDA devices, processes) each.

    All processes compute on CUDA, or none. NCCL needs a device for each process; with gloo they can share one.
    """
    if not all(devices for devices, _ in machines):
        return "cpu", "gloo"
    return "cuda", "nccl" if all(devices >= processes for devices, processes in machines) else "gloo"


def check_precision(precision: str, device: torch.device) -> None:
    """Raises UserError where the device has no bfloat16 of its own, which torch would imitate, slowly."""
    if precision == "bfloat16" and device.type == "cuda":
        check_bfloat16(torch.cuda.get_device_properties(device))


def check_bfloat16(card) -> None:
    """Raises UserError where a card is older than Ampere; card, what torch tells of it: `name`, `major`."""
    if card.major < 8:
        raise UserError(f"precision bfloat16: {card.name} does not compute in it; --set precision=float32")


def tf32() -> list[str]:
    """What CUDA computes in TF32, with 10 bits of mantissa, where float32 is asked for; torch's setting, unchanged."""
    backends = {"convolutions": torch.backends.cudnn, "matrix products": torch.backends.cuda.matmul}
    return [name for name, backend in backends.items() if backend.allow_tf32]


# In words of torch.OutOfMemoryError and cudaHostRegister, of the CPU's allocator, of cuBLAS and cuDNN.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED")


@contextmanager
def out_of_memory_told(batch_size: int) -> Iterator[None]:
    """Makes a UserError that names the field to change of a device's, or the host's, running out of memory."""
    try:
        yield
    except RuntimeError as error:
        if any(words in str(error) for words in OUT_OF_MEMORY):
            problem = str(error).splitlines()[0].rstrip(".")
            raise UserError(f"{problem}. A smaller batch needs less: --set batch_size={batch_size // 2}") from error
        raise
