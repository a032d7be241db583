"""The functions of libmachine.so.0, with their types."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p

_P = c_void_p
_OUT = POINTER(c_void_p)
_U32 = POINTER(c_uint32)
_U64 = POINTER(c_uint64)
_INT = POINTER(c_int)

# The result, then the parameters. uid_t and gid_t have 32 bits on Linux, pid_t is an int.
_FUNCTIONS = {
    "machine_open": (c_int, c_char_p, c_uint64, _OUT),
    "machine_free": (_P, _P),
    "machine_get_name": (c_char_p, _P),
    **{
        f"machine_get_{text}": (c_char_p, _P)
        for text in (
            "class", "service", "unit", "subgroup", "root", "ssh_address", "ssh_private_key_path", "control_address",
            "control_group",
        )
    },
    "machine_get_id": (c_int, _P, POINTER(c_uint8)),
    "machine_get_incarnation": (c_int, _P, _U64),
    "machine_get_leader": (c_int, _P, _INT),
    "machine_get_supervisor": (c_int, _P, _INT),
    "machine_get_owner": (c_int, _P, _U32),
    "machine_get_vsock_cid": (c_int, _P, _U32),
    "machine_get_control_group_id": (c_int, _P, _U64),
    "machine_get_realtime": (c_int, _P, _U64),
    "machine_get_monotonic": (c_int, _P, _U64),
    "machine_get_ifindex": (c_int, _P, c_size_t, _INT),
    "machine_get_address": (c_int, _P, c_size_t, _INT, _OUT, _U32),
    "machine_get_address_source": (c_int, _P, c_size_t, _INT),
    "machine_get_uid_range": (c_int, _P, c_size_t, _U32, _U32, _U32),
    "machine_get_gid_range": (c_int, _P, c_size_t, _U32, _U32, _U32),
    "machine_uid_to_host": (c_int, _P, c_uint32, _U32),
    "machine_uid_from_host": (c_int, _P, c_uint32, _U32),
    "machine_gid_to_host": (c_int, _P, c_uint32, _U32),
    "machine_gid_from_host": (c_int, _P, c_uint32, _U32),
    "machine_is_alive": (c_int, _P),
    "machine_leader_pidfd": (c_int, _P),
    "machine_supervisor_pidfd": (c_int, _P),
    "machine_control_group_fd": (c_int, _P),
    "machine_find_processes": (c_int, _P, c_uint64, _OUT),
    "machine_by_pid": (c_int, c_int, c_uint64, _OUT),
    "machine_by_pidfd": (c_int, c_int, c_uint64, _OUT),
    "machine_path_by_pid": (c_int, c_int, c_uint64, _OUT),
    "machine_by_uid": (c_int, c_uint32, c_uint64, _OUT, _U32),
    "machine_by_gid": (c_int, c_uint32, c_uint64, _OUT, _U32),
    "machine_by_address": (c_int, c_int, c_char_p, c_uint64, _OUT),
    "machine_by_vsock_cid": (c_int, c_uint32, c_uint64, _OUT),
    "machine_by_ifindex": (c_int, c_int, c_uint64, _OUT),
    "machine_by_id": (c_int, c_char_p, c_uint64, _OUT),
    "machine_by_control_group_id": (c_int, c_uint64, c_uint64, _OUT),
    "machine_list_new": (c_int, c_uint64, _OUT),
    "machine_list_by_pid": (c_int, c_int, c_uint64, _OUT),
    "machine_list_free": (_P, _P),
    "machine_list_get_count": (c_int, _P),
    "machine_list_get_machine": (_P, _P, c_size_t),
    "machine_list_get_failure": (c_int, _P, c_size_t, POINTER(c_char_p), _INT),
    "machine_list_keep_alive": (c_int, _P),
    "machine_list_keep_class": (c_int, _P, c_char_p),
    "machine_list_keep_owner": (c_int, _P, c_uint32),
    "machine_batch_new": (c_int, _INT, c_size_t, c_uint64, _OUT),
    "machine_batch_free": (_P, _P),
    "machine_batch_get_path": (c_char_p, _P, c_size_t),
    "machine_monitor_new": (c_int, c_uint64, _OUT),
    "machine_monitor_free": (_P, _P),
    "machine_monitor_get_fd": (c_int, _P),
    "machine_monitor_next": (c_int, _P, _OUT),
    "machine_event_get_change": (c_int, _P),
    "machine_event_get_name": (c_char_p, _P),
    "machine_event_get_incarnation": (c_int, _P, _U64),
    "machine_event_get_machine": (_P, _P),
    "machine_wait": (c_int, c_char_p, c_int, c_uint64, c_uint64, _OUT),
    "machine_name_check": (c_int, c_char_p),
    "machine_name_rule": (c_char_p, c_int),
    "machine_name_suggest": (c_int, c_char_p, c_char_p, c_size_t),
    "machine_strerror": (c_char_p, c_int),
    "libmachine_version": (c_char_p,),
}

lib = ctypes.CDLL("libmachine.so.0")
for _name, (_result, *_parameters) in _FUNCTIONS.items():
    _function = getattr(lib, _name)
    _function.restype, _function.argtypes = _result, _parameters

_free = ctypes.CDLL(None).free
_free.restype, _free.argtypes = None, [c_void_p]


def checked(result: int) -> int:
    """The result; a negative one is raised as the OSError that it stands for."""
    if result < 0:
        raise OSError(-result, lib.machine_strerror(result).decode("utf-8", "replace"))
    return result


def text(value: str) -> bytes:
    """A text as C takes it: there a zero byte would end it, and another machine might be meant."""
    if "\0" in value:
        raise ValueError("embedded null character")
    return value.encode("utf-8", "surrogateescape")


def u32(value: int) -> int:
    """A number that C has room for: of others, ctypes would take what fits."""
    if not 0 <= value < 2**32:
        raise OverflowError(f"{value} has no 32 bits")
    return value


def i32(value: int) -> int:
    """As u32(), with a sign."""
    if not -(2**31) <= value < 2**31:
        raise OverflowError(f"{value} has no 32 bits")
    return value


def u64(value: int) -> int:
    """As u32(), with 64 bits."""
    if not 0 <= value < 2**64:
        raise OverflowError(f"{value} has no 64 bits")
    return value


def taken_text(pointer: c_void_p) -> str:
    """The text that a function made for the caller, which is freed."""
    try:
        return ctypes.string_at(pointer.value or 0).decode()
    finally:
        _free(pointer)


def taken_ints(pointer: c_void_p, number: int) -> list[int]:
    """The numbers that a function made for the caller, which are freed."""
    try:
        return list((c_int * number).from_address(pointer.value)) if pointer.value and number else []
    finally:
        _free(pointer)
