"""Asks dockerd and Drover the same and compares: tests/diff/main.py [WORD...] runs the scenes whose title has a word.

Prints a line for each scene for tests/run.py: "@ok SECONDS AREA: TITLE". A scene with a difference that known-differences does not
list fails, and so does, in a whole run, a line there that no longer occurs."""
import importlib
import os
import subprocess
import sys
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import compare  # noqa: E402
import engines  # noqa: E402
import scene  # noqa: E402


def all_scenes(words):
    """[(title, function)] of scenes/*.py, by area."""
    sys.path.insert(0, os.path.join(HERE, "scenes"))
    found = []
    for file in sorted(os.listdir(os.path.join(HERE, "scenes"))):
        if file.endswith(".py"):
            module = importlib.import_module(file[:-3])
            functions = sorted((f.__code__.co_firstlineno, n, f) for n, f in vars(module).items() if n.startswith("scene_"))
            found += [(f"{file[:-3]}.{name[6:]}", function) for _, name, function in functions]
    return [(title, f) for title, f in found if not words or any(w in title for w in words)]


class Played:
    """What the scenes gave on one engine, in the order they were played; `ready` is set for each as it comes."""

    def __init__(self, engine, scenes):
        self.engine, self.scenes = engine, scenes
        self.results = {}
        self.ready = {title: threading.Event() for title, _ in scenes}
        self.failure = None
        self.thread = threading.Thread(target=self.play, daemon=True)
        self.thread.start()

    def play(self):
        try:
            self.engine.start()
            engines.base_image(self.engine)
        except Exception:
            self.failure = traceback.format_exc()
        for title, function in self.scenes:
            if not self.failure:
                self.results[title] = self.play_one(function)
            self.ready[title].set()

    def play_one(self, function):
        stage = scene.Scene(self.engine)
        began = time.monotonic()
        try:
            function(stage)
        except Exception as error:
            stage.steps.append(("the scene goes on", f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-2)}"))
        try:
            stage.clean()
        except Exception as error:
            stage.steps.append(("the engine is cleaned", f"{type(error).__name__}: {error}"))
        return stage.steps, time.monotonic() - began


def report(title, theirs, ours, known):
    """Prints the scene's line; True when it has no unknown difference."""
    unknown = [line for line in compare.lines(title, theirs[0], ours[0]) if not known.has(line)]
    broken = [f"on {who}: {answer}" for who, steps in (("dockerd", theirs[0]), ("drover", ours[0]))
              for step, answer in steps if step in ("the scene goes on", "the engine is cleaned")]
    for line in broken + unknown:
        print(line)
    area, _, name = title.partition(".")
    print(f"@{'FAILED' if unknown or broken else 'ok'} {theirs[1] + ours[1]:.2f} {area}: {name.replace('_', ' ')} "
          f"({len(theirs[0])} answers)", flush=True)
    return not unknown and not broken


def compare_all(scenes, known, players):
    good = True
    for title, _ in scenes:
        for player in players:
            player.ready[title].wait()
            if player.failure:
                print(f"{player.failure}\n@FAILED 0 {player.engine.name} starts")
                return False
        good &= report(title, players[0].results[title], players[1].results[title], known)
    return good


def main():
    why = engines.Oracle.missing()
    if why:
        print(f"@skipped 0 dockerd and Drover answer alike | {why}")
        return 0
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    known = compare.Known(os.path.join(HERE, "known-differences"))
    scenes = all_scenes(sys.argv[1:])
    oracle, ours = engines.Oracle(), engines.Ours()
    good = False
    try:
        players = [Played(oracle, scenes), Played(ours, scenes)]
        good = compare_all(scenes, known, players)
    finally:
        left = "".join(engine.remove() for engine in (oracle, ours))
    stale = known.stale() if not sys.argv[1:] else []
    for title, lines in (("every known difference still occurs", stale), ("nothing is left behind", left.splitlines())):
        print("\n".join(lines))
        print(f"@{'FAILED' if lines else 'ok'} 0 {title}")
    return 0 if good and not stale and not left else 1


sys.exit(main())
