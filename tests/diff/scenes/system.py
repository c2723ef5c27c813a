"""ping, version, info, events, df, auth; and paths that are not there."""


def scene_ping_and_versions_of_paths(s):
    for version in ("", "v1.24", "v1.30", "v1.41"):
        s.api("GET", "/_ping", version=version, form="text")
        s.api("HEAD", "/_ping", version=version)
    for version in ("v1.0", "v1.11", "v9.99", "v1", "v1.41.1", "vx.y"):
        s.api("GET", "/version", version=version, form="json", only=["message"])


def scene_paths_and_methods_that_are_not_there(s):
    for method, path in (("GET", "/nonsense"), ("GET", "/"), ("POST", "/_ping"), ("DELETE", "/containers/json"), ("GET", "/containers"),
                         ("PUT", "/containers/create"), ("GET", "/containers/x/start"), ("GET", "/exec"), ("PATCH", "/info"), ("GET", "//info")):
        s.api(method, path)
