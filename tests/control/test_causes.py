"""Causes come from exceptions, exit statuses, the kernel's count and the last lines, in this order."""

from __future__ import annotations

import errno
import os
import sys

import pytest
import torch

from core.control.causes import of_exception, of_status, of_text, signature, tail_of
from core.errors import CAUSES


def status_of(code: str) -> int:
    """The wait status of a Python process."""
    pid = os.posix_spawn(sys.executable, [sys.executable, "-I", "-S", "-c", code], os.environ)
    return os.waitpid(pid, 0)[1]


KILLED = status_of("import os; os.kill(os.getpid(), 9)")
ABORTED = status_of("import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), 6)")
SILENT = status_of("import os; os._exit(0)")


def test_sigkill_is_memory_only_where_the_kernel_says_so() -> None:
    assert of_status(KILLED, 0) == ("killed", "it received SIGKILL")
    assert of_status(KILLED, 1)[0] == "host_oom"
    assert of_status(KILLED, 1, "CUDA out of memory")[0] == "host_oom", "the kernel's count outranks words"


def test_a_crash_names_its_signal_and_what_was_said_before_it() -> None:
    assert of_status(ABORTED, 0) == ("crashed", "it received SIGABRT")
    said = "step 4\n[rank1]: Watchdog caught collective operation timeout: WorkNCCL(SeqNum=5)\nterminate called\n"
    cause, message = of_status(ABORTED, 0, said)
    assert cause == "comm_timeout" and "SIGABRT" in message and "SeqNum=5" in message
    assert of_status(SILENT, 0) == ("crashed", "the process left with code 0 and said nothing")


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "cuda_oom"),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate", "cuda_oom"),
        ("RuntimeError: CUDA error: uncorrectable ECC error encountered", "node_failure"),
        ("NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.", "node_failure"),
        ("RuntimeError: [/gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.2]:41", "comm_timeout"),
        ("torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp", "comm_timeout"),
        ("OSError: [Errno 28] No space left on device", "disk_quota"),
        ("RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes", "host_oom"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=7.0", "host_oom"),
    ],
)
def test_what_libraries_print_names_a_cause(line: str, cause: str) -> None:
    assert of_text(f"before\n{line}\nafter") == (cause, line)
    assert cause in CAUSES


def test_an_ordinary_output_names_none() -> None:
    assert of_text("step 3 loss 0.1\nKeyError: 'memory'\n") is None


def test_exceptions_have_causes() -> None:
    assert of_exception(torch.cuda.OutOfMemoryError("x")) == "cuda_oom"
    assert of_exception(MemoryError()) == "host_oom"
    assert of_exception(OSError(errno.EDQUOT, "x")) == "disk_quota"
    assert of_exception(OSError(errno.ESTALE, "x")) == "node_failure"
    assert of_exception(RuntimeError("NCCL error in: x.cpp")) == "comm_timeout"
    assert of_exception(ValueError("I quote: CUDA out of memory")) == "user_bug"
    assert of_exception(KeyError("a")) == "user_bug"


def raised(number: int) -> Exception:
    try:
        if number == 1:
            raise ValueError(f"value {number}")
        raise ValueError(f"value {number}")
    except ValueError as error:
        return error


def test_equal_tracebacks_have_equal_signatures_whatever_their_message() -> None:
    assert signature(raised(2)) == signature(raised(3))
    assert signature(raised(1)) != signature(raised(2))


def test_the_tail_of_a_long_output_is_its_end(tmp_path: object) -> None:
    from pathlib import Path

    file = Path(str(tmp_path)) / "output.log"
    file.write_text("x" * 100_000 + "\nthe end", encoding="utf-8")
    assert tail_of(file).endswith("the end") and len(tail_of(file)) < 20_000
    assert tail_of(file.with_name("none")) == ""
