"""How Prefect is used here: every flow asynchronous, nothing cached or persisted, retries only for what may pass by itself.

A synchronous flow costs a second for its heartbeat thread; Prefect's cache would keep sensitive data under its home and may be
stale, and the store's own ledger already makes every step safe to repeat.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import ParamSpec, TypeVar, cast

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from biomarkers.errors import BiomarkersError

P = ParamSpec("P")
R = TypeVar("R")

RETRIES = 3
RETRY_SECONDS = [1.0, 5.0, 20.0]


async def _may_pass(_task: object, _run: object, state: object) -> bool:
    """Retry what is transient, such as a locked database or a share that is away; a fault of a file never."""
    result = getattr(state, "result", None)
    error = result(raise_on_failure=False) if callable(result) else None
    if isinstance(error, Awaitable):
        error = await error
    return isinstance(error, BiomarkersError) and error.is_transient


def lab_task(name: str) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
    """Make a coroutine a stage of a flow."""

    def decorate(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        made = task(
            name=name,
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=RETRIES,
            retry_delay_seconds=RETRY_SECONDS,
            retry_condition_fn=_may_pass,
            log_prints=False,
        )(function)
        return cast("Callable[P, Awaitable[R]]", made)

    return decorate


def lab_flow(name: str) -> Callable[[Callable[P, Coroutine[None, None, R]]], Callable[P, Coroutine[None, None, R]]]:
    """Make a coroutine a flow."""

    def decorate(function: Callable[P, Coroutine[None, None, R]]) -> Callable[P, Coroutine[None, None, R]]:
        made = flow(name=name, persist_result=False, validate_parameters=False, log_prints=False)(function)
        return cast("Callable[P, Coroutine[None, None, R]]", made)

    return decorate
