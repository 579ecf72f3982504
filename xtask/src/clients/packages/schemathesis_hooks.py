"""What schemathesis cannot write by itself: an archive is whatever bytes it makes up."""

import schemathesis


@schemathesis.serializer("application/x-tar")
def tar(_context, value):
    payload = getattr(value, "data", value)
    return payload if isinstance(payload, bytes) else str(payload).encode()
