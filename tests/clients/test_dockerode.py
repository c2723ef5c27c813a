"""npm's dockerode: node/dockerode.js."""
import node_script


@node_script.with_tests
class Dockerode(node_script.Script):
    script = "dockerode.js"
