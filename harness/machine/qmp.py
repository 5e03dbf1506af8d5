"""QMP for code that is not asynchronous: qemu.qmp's client on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import socket
import threading
from collections.abc import Collection, Coroutine, Mapping
from typing import Any, TypeVar

from qemu.qmp import EventListener, QMPClient, QMPError, Runstate

from harness.core.deadline import Deadline
from harness.core.errors import BenchError, DeadlineError

T = TypeVar("T")
_TIDYING_S = 2.0


class Qmp:
    """One monitor connection. Commands return QEMU's answer; events wait in a queue until they are asked for."""

    def __init__(self, connection: socket.socket, name: str, deadline: Deadline) -> None:
        self.name = name
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name=f"qmp {name}")
        self._thread.start()
        self._client = QMPClient(name)
        self._events = EventListener()
        self._client.register_listener(self._events)
        connection.setblocking(False)
        try:
            self._await(self._client.connect(connection), deadline)
        except BaseException:
            self._stop()
            connection.close()
            raise

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None, *, deadline: Deadline | None = None) -> Any:
        """Run one command; raise BenchError with QEMU's words if it is refused."""
        limit = deadline or Deadline.after(30, f"QMP {command} on {self.name}")
        return self._await(self._client.execute(command, dict(arguments or {})), limit, command)

    def give_file(self, name: str, descriptor: int) -> None:
        """Hand an open file to QEMU under a name for the next command that takes one; both must be on this machine."""

        async def give() -> None:
            self._client.send_fd_scm(descriptor)
            await self._client.execute("getfd", {"fdname": name})

        self._await(give(), Deadline.after(30, f"handing a file to {self.name}"), "getfd")

    def wait_for_event(self, name: str, deadline: Deadline, **data: str) -> Mapping[str, Any]:
        """Return the data of the next event of that name whose members equal ``data``; other events are dropped."""
        return self._await(self._next_event(name, data), deadline, f"event {name}")

    def wait_for_change(self, name: str, member: str, among: Collection[str], deadline: Deadline) -> str:
        """Return the first value out of ``among`` that an event of that name has in ``member``."""

        async def changed() -> str:
            while (value := str((await self._next_event(name, {}))[member])) not in among:
                pass
            return value

        return self._await(changed(), deadline, f"event {name}")

    def clear_events(self) -> None:
        """Forget the events that have come so far."""
        self._events.clear()

    def close(self) -> None:
        """Leave; the machine goes on."""
        try:
            self._await(self._client.disconnect(), Deadline.after(5, "leaving QMP"))
        except (BenchError, DeadlineError):
            pass  # QEMU may be gone, which is what a disconnect is for
        finally:
            self._stop()

    def _stop(self) -> None:
        """End the loop and its thread, once what still runs there has ended."""
        with contextlib.suppress(concurrent.futures.TimeoutError):
            asyncio.run_coroutine_threadsafe(_end_tasks(), self._loop).result(_TIDYING_S + 3)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        if not self._thread.is_alive():  # else a busy machine has not let it end yet: it does, and nobody waits for it
            self._loop.close()

    async def _next_event(self, name: str, data: Mapping[str, str]) -> Mapping[str, Any]:
        while True:
            event = await self._event_or_end()
            found: Mapping[str, Any] = event.get("data", {})
            if event["event"] == name and all(found.get(key) == value for key, value in data.items()):
                return found

    async def _event_or_end(self) -> Mapping[str, Any]:
        """Return the next event; raise EOFError once QEMU has left and no event is left."""
        if self._events.empty() and self._client.runstate is not Runstate.RUNNING:
            raise EOFError("QEMU left")
        event = asyncio.ensure_future(self._events.get())
        end = asyncio.ensure_future(self._client.runstate_changed())
        try:
            await asyncio.wait({event, end}, return_when=asyncio.FIRST_COMPLETED)
            if not event.done():
                raise EOFError("QEMU left")
            return event.result()
        finally:
            event.cancel()
            end.cancel()

    def _await(self, work: Coroutine[Any, Any, T], deadline: Deadline, what: str = "connecting") -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(deadline.left_s)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise deadline.error() from None
        except (QMPError, OSError, EOFError) as error:
            raise BenchError(f"QMP {what} on {self.name} failed: {error}") from error


async def _end_tasks() -> None:
    """Let every other task of this loop end, and cancel what does not."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    if rest:
        _, late = await asyncio.wait(rest, timeout=_TIDYING_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
