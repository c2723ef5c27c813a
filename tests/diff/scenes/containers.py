"""Containers: create, inspect, list, lifecycle, and what is refused."""


def scene_a_life_from_create_to_remove(s):
    s.api("POST", "/containers/create", {"Image": "bb:1", "Cmd": ["sh", "-c", "exit 3"]}, {"name": "one"})
    s.api("GET", "/containers/one/json")
    s.api("GET", "/containers/json", params={"all": 1})
    s.api("POST", "/containers/one/start")
    s.api("POST", "/containers/one/wait")
    s.api("GET", "/containers/one/json")
    s.api("POST", "/containers/one/start")
    s.finished("one")
    s.api("DELETE", "/containers/one")
    s.api("GET", "/containers/one/json")


def scene_what_changes_nothing_is_304_and_what_cannot_be_409(s):
    s.run("one")
    s.api("POST", "/containers/one/start")
    s.api("DELETE", "/containers/one")
    s.api("POST", "/containers/create", {"Image": "bb:1"}, {"name": "one"})
    s.api("POST", "/containers/one/unpause")
    s.api("POST", "/containers/one/stop", params={"t": 1})
    s.api("POST", "/containers/one/stop")
    s.api("POST", "/containers/one/kill")
    s.api("POST", "/containers/one/pause")
    s.api("GET", "/containers/one/top")
    s.api("POST", "/containers/one/exec", {"Cmd": ["true"]})
