"""What schemathesis cannot write by itself: an archive is whatever bytes it makes up."""

import ast
import functools
import threading

import schemathesis

# CPython before 3.11.5 keeps one depth of recursion for all threads that make syntax trees (gh-106905), so workers that parse at
# the same moment end with "AST constructor recursion depth mismatch". Here they take turns.
TURN = threading.RLock()


def taking_turns(parse):
    @functools.wraps(parse)
    def parsed(*args, **kwargs):
        with TURN:
            return parse(*args, **kwargs)

    return parsed


ast.parse = taking_turns(ast.parse)


@schemathesis.serializer("application/x-tar")
def tar(_context, value):
    payload = getattr(value, "data", value)
    return payload if isinstance(payload, bytes) else str(payload).encode()


LONG = 8192


@schemathesis.hook
def before_load_schema(_context, raw_schema):
    """Texts of megabytes take it minutes to make up, and where it gives up it sends something else."""
    places = [raw_schema]
    while places:
        place = places.pop()
        if isinstance(place, dict):
            length = place.get("maxLength")
            if isinstance(length, int) and length > LONG:
                del place["maxLength"]
            places.extend(place.values())
        elif isinstance(place, list):
            places.extend(place)
