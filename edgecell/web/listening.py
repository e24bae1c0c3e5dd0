"""From the bus to the browsers."""

from pathlib import Path

import msgspec

from edgecell import wire
from edgecell.client import AsyncPreviews, AsyncSubscriber
from edgecell.web.hub import Hub
from edgecell.web.runs import Runs
from edgecell.wire import Heartbeat


async def relay_messages(endpoint: str, key: Path | None, server_key: Path | None, hub: Hub, runs: Runs) -> None:
    """Counts and heartbeats as they are on the bus, without end."""
    async with AsyncSubscriber(endpoint, key=key, server_key=server_key) as bus:
        async for message in bus:
            topic, payload = wire.to_wire(message)
            if isinstance(message, Heartbeat):
                runs.heard(message)
            hub.tell(topic.partition("/")[0], payload)


async def relay_previews(endpoint: str, key: Path | None, server_key: Path | None, hub: Hub) -> None:
    """Previews, without end: the picture apart, so that a browser fetches and decodes it as one."""
    async with AsyncPreviews(endpoint, key=key, server_key=server_key) as bus:
        async for preview in bus:
            number = hub.show(preview.jpeg)
            told = msgspec.to_builtins(msgspec.structs.replace(preview, jpeg=b""))
            del told["jpeg"]
            hub.tell("preview", msgspec.json.encode({**told, "picture": f"/api/preview/{number}.jpg"}))
