"""What may differ between two engines that behave alike: ids, times, addresses, sizes, process ids, their own paths."""
import json
import re

TEXTS = [
    (re.compile(r"\b[0-9a-f]{64}\b"), "<id>"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"\b(?!0001)\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?(Z|[+-]\d\d:?\d\d)( [A-Z]{3,4})?)?"), "<time>"),
    (re.compile(r"\b(Less than a|About a|About an|\d+) (second|minute|hour)s?\b"), "<duration>"),
    # Addresses of 10.99.* and fd99: are a scene's own choice and are compared.
    (re.compile(r"\b(?!10\.99\.|127\.0\.0\.1|0\.0\.0\.0)\d{1,3}(\.\d{1,3}){3}\b"), "<address>"),
    (re.compile(r"\b(?!02:99)([0-9a-f]{2}:){5}[0-9a-f]{2}\b"), "<mac>"),
    (re.compile(r"\b\d+(\.\d+)? ?[kMG]?B\b"), "<bytes>"),
]

# By the name of a field: a number or text that is nobody's promise, when it is not empty.
FIELDS = {
    "Pid": "<pid>", "Size": "<bytes>", "VirtualSize": "<bytes>", "SizeRw": "<bytes>", "SizeRootFs": "<bytes>", "SharedSize": "<bytes>",
    "LayersSize": "<bytes>", "size": "<bytes>", "time": "<time>", "timeNano": "<time>", "Created": "<time>", "mtime": "<time>",
    "ContainerID": "<id>", "HostPort": "<port>", "PublicPort": "<port>",
}
PORTS_ASKED = range(18000, 19000)  # ports of this range are a scene's own choice


def text(value, engine):
    for path in (engine.root, engine.root.lstrip("/")):
        value = value.replace(path, "<root>")
    for pattern, replacement in TEXTS:
        value = pattern.sub(replacement, value)
    return value


def field(name, value):
    if name not in FIELDS or isinstance(value, (dict, list, bool)) or not value or value == -1:
        return None
    if name in ("HostPort", "PublicPort") and not (str(value).isdigit() and int(value) not in PORTS_ASKED):
        return None
    return FIELDS[name]


def document(value, engine, name=None):
    """The same document with every such value replaced by what it is."""
    if isinstance(value, dict):
        masked = {}
        # Keys that are ids become the same: they are told apart by what they stand for.
        for key, inner in sorted(((text(k, engine), document(v, engine, k)) for k, v in value.items()), key=json.dumps):
            masked[key if key not in masked else f"{key}#{len(masked)}"] = inner
        return masked
    if isinstance(value, list):
        return [document(v, engine) for v in value]
    masked = field(name, value)
    if masked:
        return masked
    return text(value, engine) if isinstance(value, str) else value
