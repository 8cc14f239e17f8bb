"""What is true of every frame, in Markdown: the contract's documents and pages say it once, in these words."""

ENVELOPE = """\
## The envelope

Every frame, either way, is one JSON object. A client sends:

```json
{"event": "DISCOVER_PEERS", "data": {"ide": "vscode"}, "ref": 7}
```

The server answers:

```json
{"event": "PEERS_LIST", "data": {"peers": []}, "ref": 7}
```

| member | who sends it | what it is |
|---|---|---|
| `event` | both | the name of the event |
| `data` | both | the fields of the event; a client may leave it out where no field is required |
| `ref` | a client, then the server | a string or an integer; every direct answer carries the same one |
| `offset` | the server | the number of an event that is kept for a client with the capability `resume` |

The server answers a frame that it refuses with `ERROR`, and the socket stays open. A frame with a `ref` that needs no
other reply is answered `OK`.
"""

HEARTBEAT = """\
## How to notice a dead line

A connection can die without a close frame. Both sides find out by listening:

- The server sends a WebSocket ping every `limits.heartbeatSeconds` of `AUTH_SUCCESS` (30 by default). Your WebSocket
  library answers with a pong by itself. The server cuts a socket from which nothing came until the next ping.
- A client that gets nothing at all for twice `heartbeatSeconds`, no frame and no ping, takes the line for dead: it
  closes the socket, pauses, and reconnects.
- A library that hides pings from you (browsers do) needs the event `PING` instead. Send it every `heartbeatSeconds`;
  the server answers `PONG`.
- `limits` comes only to clients that send `capabilities` in `AUTH`. Without them, reckon with 30 seconds.
"""
