"""What the retold tests of docker-py share: its two clients in one version of the API."""
import unittest

try:
    import docker
except ImportError:
    docker = None

SECOND = 1000000000


class Asked:
    """For a Story; its subclasses say in which version of the API."""
    version = None

    @classmethod
    def setUpClass(cls):
        if docker is None:
            raise unittest.SkipTest("needs python3-docker")
        super().setUpClass()

    def setUp(self):
        super().setUp()
        self.c = docker.APIClient(base_url=f"unix://{self.d.socket}", version=self.version, timeout=100)
        self.high = docker.DockerClient(base_url=f"unix://{self.d.socket}", version=self.version, timeout=100)

    def tearDown(self):
        self.c.close()
        self.high.close()
        super().tearDown()


class Cleaned(Asked):
    """The same; nothing of what a test has made is there for the next one."""

    def tearDown(self):
        for container in self.c.containers(all=True):
            self.c.remove_container(container, force=True, v=True)
        for network in self.c.networks():
            if network["Name"] not in ("bridge", "host", "none"):
                self.c.remove_network(network["Id"])
        for volume in self.c.volumes()["Volumes"] or []:
            self.c.remove_volume(volume["Name"])
        for image in self.c.images():
            for tag in image["RepoTags"] or []:
                if tag not in ("busybox:latest", "<none>:<none>"):
                    self.c.remove_image(tag, force=True)
        super().tearDown()
