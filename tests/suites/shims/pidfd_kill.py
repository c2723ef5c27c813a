#!/usr/bin/python3 -IS
"""What runc's test of --pidfd-socket lets listen: takes one descriptor of a process from the socket, and on SIGTERM sends that
process a signal."""
import argparse
import os
import signal
import socket

parser = argparse.ArgumentParser()
parser.add_argument("--signal", default="SIGKILL")
parser.add_argument("--pid-file")
parser.add_argument("socket")
options = parser.parse_args()
number = signal.Signals[options.signal if options.signal.startswith("SIG") else "SIG" + options.signal]
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
if options.pid_file:
    with open(options.pid_file, "w") as f:
        f.write(f"{os.getpid()}\n")
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(options.socket)
    listener.listen(1)
    connection, _ = listener.accept()
    _, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
signal.sigwait({signal.SIGTERM})
signal.pidfd_send_signal(descriptors[0], number)
if options.pid_file:
    os.unlink(options.pid_file)
