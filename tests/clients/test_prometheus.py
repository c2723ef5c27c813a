"""Prometheus finds what to scrape by asking the engine: docker_sd_configs."""
import json
import os
import subprocess
import unittest

from harness import TOP, Story, http_get, wait_for

PROMETHEUS = os.path.join(TOP, "build/clients/prometheus/usr/bin/prometheus")
PORT = 19090  # in the stories' own network

CONFIG = """
scrape_configs:
- job_name: containers
  docker_sd_configs:
  - host: unix://{socket}
    refresh_interval: 1s
    filters:
    - name: label
      values: [scrape=yes]
"""


class Prometheus(Story):
    @classmethod
    def setUpClass(cls):
        if not os.path.exists(PROMETHEUS):
            raise unittest.SkipTest("needs Debian's prometheus below build/clients (scripts/clients)")
        super().setUpClass()

    def test_docker_sd_configs_turn_running_containers_into_targets_with_their_labels(self):
        d = self.d
        d.docker("network", "create", "scraped")
        d.docker("run", "-d", "--name", "web", "--network", "scraped", "--label", "scrape=yes", "--label", "team=a b", "-p", "18123:8080",
                 "--stop-signal", "KILL", "busybox", "httpd", "-f", "-p", "8080")
        d.docker("run", "-d", "--name", "other", "--stop-signal", "KILL", "busybox", "sleep", "1000")
        config = os.path.join(d.root, "prometheus.yml")
        with open(config, "w") as f:
            f.write(CONFIG.format(socket=d.socket))
        with open(os.path.join(d.root, "prometheus.log"), "w") as log:
            server = subprocess.Popen([PROMETHEUS, f"--config.file={config}", f"--storage.tsdb.path={d.root}/tsdb", f"--web.listen-address=127.0.0.1:{PORT}"],
                                      stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            found = wait_for(self.targets, "Prometheus to have targets")
            labels = found[0]["discoveredLabels"]
            self.assertEqual({t["discoveredLabels"]["__meta_docker_container_name"] for t in found}, {"/web"})
            self.assertEqual(labels["__meta_docker_container_label_team"], "a b")
            self.assertEqual(labels["__meta_docker_network_name"], "scraped")
            self.assertEqual((labels["__meta_docker_port_private"], labels["__meta_docker_port_public"]), ("8080", "18123"))
            address = d.inspect("web")["NetworkSettings"]["Networks"]["scraped"]["IPAddress"]
            self.assertEqual(labels["__address__"], f"{address}:8080")
            d.docker("rm", "-f", "web")
            wait_for(lambda: self.targets() == [], "the target to go with its container")
        finally:
            server.terminate()
            server.wait()

    def targets(self):
        try:
            status, text = http_get(f"http://127.0.0.1:{PORT}/api/v1/targets?state=active")
        except OSError:
            return None
        return json.loads(text)["data"]["activeTargets"] if status == 200 else None
