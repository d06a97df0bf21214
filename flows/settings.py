"""How Prefect is used here: every flow asynchronous, nothing cached or persisted, retries only for what may pass by itself.

A synchronous flow costs a second for its heartbeat thread; Prefect's cache would keep sensitive data under its home and may be
stale, and the store's own ledger already makes every step safe to repeat.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec, TypeVar, cast

import httpx
from prefect import Flow, flow, task
from prefect.artifacts import acreate_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events.clients import PrefectEventsClient
from prefect.events.worker import EventsWorker
from prefect.exceptions import PrefectException

from biomarkers.errors import BiomarkersError

P = ParamSpec("P")
R = TypeVar("R")

# What is told of task runs is dropped at once when the server is gone; by default each message is offered ten times over seven
# seconds, so that a sweep whose server died would end minutes after its last file.
EventsWorker.set_client_override(PrefectEventsClient, reconnection_attempts=1)

RETRIES = 3
RETRY_SECONDS = [1.0, 5.0, 20.0]


async def _may_pass(_task: object, _run: object, state: object) -> bool:
    """Retry what is transient, such as a locked database or a share that is away; a fault of a file never."""
    result = getattr(state, "result", None)
    error = result(raise_on_failure=False) if callable(result) else None
    if isinstance(error, Awaitable):
        error = await error
    return isinstance(error, BiomarkersError) and error.is_transient


_WITHOUT_PREFECT: ContextVar[bool] = ContextVar("without_prefect", default=False)


@contextmanager
def without_prefect() -> Iterator[None]:
    """Run flows and their stages within the block as the plain coroutines they are: the same composition, unobserved.

    For proofs that repeat a sweep thousands of times; what a laboratory runs is always observed.
    """
    token = _WITHOUT_PREFECT.set(True)
    try:
        yield
    finally:
        _WITHOUT_PREFECT.reset(token)


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
        return _either(function, cast("Callable[P, Awaitable[R]]", made))

    return decorate


def lab_flow(name: str) -> Callable[[Callable[P, Coroutine[None, None, R]]], Callable[P, Coroutine[None, None, R]]]:
    """Make a coroutine a flow."""

    def decorate(function: Callable[P, Coroutine[None, None, R]]) -> Callable[P, Coroutine[None, None, R]]:
        made = flow(name=name, persist_result=False, validate_parameters=False, log_prints=False)(function)
        either = _either(function, cast("Callable[P, Awaitable[R]]", made))
        return cast("Callable[P, Coroutine[None, None, R]]", either)

    return decorate


def _either(plain: Callable[P, Awaitable[R]], observed: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    @wraps(plain)
    async def run(*args: P.args, **kwargs: P.kwargs) -> R:
        return await (plain if _WITHOUT_PREFECT.get() else observed)(*args, **kwargs)

    return run


def deployable_flow(name: str) -> Callable[[Callable[P, Coroutine[None, None, None]]], Flow[P, Coroutine[None, None, None]]]:
    """Make a coroutine a flow that Prefect can start by itself, in a process of its own."""

    def decorate(function: Callable[P, Coroutine[None, None, None]]) -> Flow[P, Coroutine[None, None, None]]:
        return flow(name=name, persist_result=False, log_prints=False)(function)

    return decorate


async def published(key: str, markdown: str) -> None:
    """Show a text on Prefect's own page, as far as that can be reached; it is no record, so its absence harms nothing."""
    if _WITHOUT_PREFECT.get():
        return
    with contextlib.suppress(httpx.HTTPError, PrefectException):
        await acreate_markdown_artifact(key=key.lower(), markdown=markdown)
