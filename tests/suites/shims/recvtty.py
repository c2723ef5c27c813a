#!/usr/bin/python3 -IS
"""What runc's tests let listen at --console-socket: takes the terminals of containers. By "single" one, whose output it prints and whose
input is its own; by "null" any number, whose output nobody wants. Ends when its socket is removed: a test that is over sooner than this
has written its pid does not find it to end it, and the suite would wait for it for ever."""
import argparse
import os
import select
import socket
import sys
import threading

parser = argparse.ArgumentParser()
parser.add_argument("--mode", "-m", choices=["single", "null"], default="single")
parser.add_argument("--pid-file")
parser.add_argument("--no-stdin", action="store_true")
parser.add_argument("socket")
options = parser.parse_args()
if options.pid_file:
    with open(options.pid_file, "w") as f:
        f.write(f"{os.getpid()}\n")


def pump(source, target):
    try:
        while data := os.read(source, 65536):
            if target is not None:
                os.write(target, data)
    except OSError:  # EIO: the container has closed its end
        pass


def terminal(listener):
    while True:
        while not select.select([listener], [], [], 1)[0]:
            if not os.path.exists(options.socket):
                sys.exit(0)
        connection, _ = listener.accept()
        with connection:
            descriptors = socket.recv_fds(connection, 4096, 1)[1]
        if descriptors:  # else a container that failed before it had one
            return descriptors[0]


with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(options.socket)
    listener.listen(16)
    while options.mode == "null":
        threading.Thread(target=pump, args=(terminal(listener), None), daemon=True).start()
    master = terminal(listener)
if not options.no_stdin:
    threading.Thread(target=pump, args=(sys.stdin.fileno(), master), daemon=True).start()
pump(master, sys.stdout.fileno())
