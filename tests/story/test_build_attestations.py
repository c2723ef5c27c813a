"""drover build --provenance and --sbom: what is said of an image goes where the image goes, in BuildKit's form."""
import base64
import json
import os
import shutil
import sqlite3
import struct
import tarfile

from harness import Story, run
from test_registry_replication import free_port

STATUS = """Package: zlib1g
Status: install ok installed
Version: 1:1.2
Architecture: amd64
Source: zlib

Package: gone
Status: deinstall ok config-files
Version: 1
"""
APK = """P:musl
V:1.2.5-r0
A:x86_64
o:musl

"""


SPEC = """Name: sample
Version: 1.2
Release: 3
Epoch: 4
Summary: sample
License: MIT
Vendor: Example
BuildArch: noarch
%description
sample
%files
"""


class Attestations(Story):
    def setUp(self):
        super().setUp()
        self.folder = os.path.join(self.d.root, "context-" + self._testMethodName)
        os.makedirs(self.folder)
        self.write("status", STATUS)
        self.write("installed", APK)
        self.write("Dockerfile", "FROM busybox\nARG WHO=nobody\nCOPY status /var/lib/dpkg/status\nRUN --network=none --mount=type=secret,id=key,required=false echo $WHO > /who\n")

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w") as f:
            f.write(text)

    def build(self, *args, check=True):
        archive = os.path.join(self.d.root, "out.tar")
        done = self.d.drover("build", *args, "-o", f"type=oci,dest={archive}", self.folder, check=check)
        if not check:
            return done
        with tarfile.open(archive) as tar:
            blobs = {m.name.rsplit("/", 1)[-1]: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}
        top = json.loads(blobs["index.json"])["manifests"][0]
        return blobs, top

    def statements(self, blobs, top):
        """The statements of an archive by the type of their predicates, after a look at how they are attached."""
        def read(digest):
            return json.loads(blobs[digest.split(":")[1]])
        image, attestation = read(top["digest"])["manifests"]
        self.assertEqual(attestation["platform"], {"architecture": "unknown", "os": "unknown"})
        self.assertEqual(attestation["annotations"], {"vnd.docker.reference.digest": image["digest"], "vnd.docker.reference.type": "attestation-manifest"})
        manifest = read(attestation["digest"])
        self.assertEqual(read(manifest["config"]["digest"])["rootfs"]["diff_ids"], [layer["digest"] for layer in manifest["layers"]])
        found = {}
        for layer in manifest["layers"]:
            statement = read(layer["digest"])
            self.assertEqual((layer["mediaType"], layer["annotations"]["in-toto.io/predicate-type"]), ("application/vnd.in-toto+json", statement["predicateType"]))
            self.assertEqual((statement["_type"], statement["subject"][0]["digest"]["sha256"]), ("https://in-toto.io/Statement/v0.1", image["digest"].split(":")[1]))
            found[statement["predicateType"]] = statement["predicate"]
        return found

    def test_provenance_says_how_and_of_what(self):
        found = self.statements(*self.build("-t", "said:1", "--provenance", "--build-arg", "WHO=me"))
        self.assertEqual(list(found), ["https://slsa.dev/provenance/v1"])
        least = found["https://slsa.dev/provenance/v1"]
        self.assertEqual([m["uri"].split("?")[0] for m in least["buildDefinition"]["resolvedDependencies"]], ["pkg:docker/busybox@latest"])
        self.assertEqual(least["buildDefinition"]["externalParameters"]["request"]["args"], {})
        self.assertTrue(least["runDetails"]["metadata"]["buildkit_hermetic"])
        self.assertNotIn("me", json.dumps(least["buildDefinition"]["externalParameters"]["request"]["args"]))
        all_of_it = self.statements(*self.build("--provenance=mode=max,builder-id=https://example.com/b", "--build-arg", "WHO=me"))["https://slsa.dev/provenance/v1"]
        request = all_of_it["buildDefinition"]["externalParameters"]["request"]
        self.assertEqual((request["args"], request["secrets"]), ({"build-arg:WHO": "me"}, [{"id": "key", "optional": True}]))
        self.assertEqual(all_of_it["runDetails"]["builder"]["id"], "https://example.com/b")
        source = all_of_it["runDetails"]["metadata"]["buildkit_metadata"]["source"]["infos"][0]
        with open(os.path.join(self.folder, "Dockerfile"), "rb") as f:
            self.assertEqual(base64.b64decode(source["data"]), f.read())
        old = self.statements(*self.build("--provenance=mode=min,version=v0.2"))["https://slsa.dev/provenance/v0.2"]
        self.assertEqual((old["invocation"]["configSource"]["entryPoint"], old["metadata"]["completeness"]["parameters"]), ("Dockerfile", False))
        self.write("Dockerfile", "FROM busybox\nRUN true\n")
        self.assertFalse(self.statements(*self.build("--provenance"))["https://slsa.dev/provenance/v1"]["runDetails"]["metadata"]["buildkit_hermetic"])

    def test_a_bill_of_materials_has_the_packages_of_dpkg_and_apk(self):
        def packages():
            bill = self.statements(*self.build("--sbom"))["https://spdx.dev/Document"]
            self.assertEqual(bill["spdxVersion"], "SPDX-2.3")
            return [(p["name"], p["versionInfo"], p["externalRefs"][0]["referenceLocator"].split("?")[0]) for p in bill["packages"][1:]]
        self.assertEqual(packages(), [("zlib1g", "1:1.2", "pkg:deb/unknown/zlib1g@1%3A1.2")])
        self.write("Dockerfile", "FROM busybox\nCOPY installed /lib/apk/db/installed\nRUN printf 'ID=alpine\\nVERSION_ID=3.20\\n' > /etc/os-release\n")
        self.assertEqual(packages(), [("musl", "1.2.5-r0", "pkg:apk/alpine/musl@1.2.5-r0")])
        self.write("Dockerfile", "FROM busybox\nCOPY status /var/lib/dpkg/status.d/zlib1g\n")
        self.assertEqual(packages(), [("zlib1g", "1:1.2", "pkg:deb/unknown/zlib1g@1%3A1.2")])
        self.write("Dockerfile", "FROM busybox\nRUN mkdir -p /var/lib/dpkg && ln -s /etc/passwd /var/lib/dpkg/status\n")
        self.assertEqual(packages(), [])
        self.write("Dockerfile", "FROM busybox\nRUN mkdir -p /var/lib/dpkg && mkfifo /var/lib/dpkg/status\n")
        self.assert_clean_refusal(self.build("--sbom", check=False), "not a regular file")

    def rpm_packages(self):
        bill = self.statements(*self.build("--sbom"))["https://spdx.dev/Document"]
        return [(p["name"], p["versionInfo"], p["externalRefs"][0]["referenceLocator"]) for p in bill["packages"][1:]]

    def test_a_bill_of_materials_has_the_packages_of_rpm(self):
        if not shutil.which("rpmbuild"):
            self.skipTest("rpm is not installed")
        self.write("sample.spec", SPEC)
        run(["rpmbuild", "--quiet", "-bb", "--define", f"_topdir {self.folder}/top", f"{self.folder}/sample.spec"])
        rpm = ["rpm", "--root", f"{self.folder}/root", "--dbpath", "/var/lib/rpm"]
        run([*rpm, "--initdb"])
        run([*rpm, "--force-debian", "--nodeps", "-i", f"{self.folder}/top/RPMS/noarch/sample-1.2-3.noarch.rpm"])
        made = f"{self.folder}/root/var/lib/rpm"
        expected = [("sample", "4:1.2-3", "pkg:rpm/fedora/sample@1.2-3?arch=noarch&epoch=4&distro=fedora-41")]
        release = "RUN printf 'ID=fedora\\nVERSION_ID=41\\n' > /etc/os-release\n"
        for place in ("/var/lib/rpm/", "/usr/lib/sysimage/rpm/"):
            self.write("Dockerfile", f"FROM busybox\n{release}COPY root/var/lib/rpm {place}\n")
            self.assertEqual(self.rpm_packages(), expected)
        # What was not yet put into the file is in its journal.
        db = sqlite3.connect(f"{made}/rpmdb.sqlite", isolation_level=None)
        self.assertEqual(db.execute("PRAGMA journal_mode").fetchone()[0], "wal")
        blob = db.execute("SELECT blob FROM Packages").fetchone()[0]
        db.execute("DELETE FROM Packages")
        shutil.copytree(made, f"{self.folder}/none")
        db.execute("INSERT INTO Packages (blob) VALUES (?)", [blob])
        shutil.copytree(made, f"{self.folder}/journal")
        db.close()
        for folder, found in (("none", []), ("journal", expected)):
            self.assertGreater(os.path.getsize(f"{self.folder}/{folder}/rpmdb.sqlite-wal"), 0)
            self.write("Dockerfile", f"FROM busybox\n{release}COPY {folder} /var/lib/rpm/\n")
            self.assertEqual(self.rpm_packages(), found)
        # SUSE's form of the same.
        slots = struct.pack("<4s3I16x4s3I", b"RpmP", 0, 1, 1, b"Slot", 1, 256, 0) + struct.pack("<4s3I", b"Slot", 0, 0, 0) * 253
        with open(f"{self.folder}/Packages.db", "wb") as out:
            out.write(slots + struct.pack("<4s3I", b"BlbS", 1, 1, len(blob)) + blob)
        self.write("Dockerfile", f"FROM busybox\n{release}COPY Packages.db /usr/lib/sysimage/rpm/\n")
        self.assertEqual(self.rpm_packages(), expected)

    def test_a_database_of_rpm_that_cannot_be_read_is_told(self):
        made = os.path.join(self.folder, "rpmdb.sqlite")
        def build(name="rpmdb.sqlite"):
            self.write("Dockerfile", f"FROM busybox\nCOPY {name} /var/lib/rpm/\n")
            return self.build("--sbom", check=False)
        def make(*statements):
            if os.path.exists(made):
                os.unlink(made)
            with sqlite3.connect(made) as db:
                for s in statements:
                    db.execute(s)
            db.close()
        self.write("rpmdb.sqlite", "no database at all\n" * 100)
        self.assert_clean_refusal(build(), "not a database")
        make("CREATE TABLE other (x)")
        self.assert_clean_refusal(build(), "no such table: Packages")
        make("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob)", "INSERT INTO Packages (blob) VALUES (x'000000ff00000000')")
        self.assert_clean_refusal(build(), "header is cut")
        make("CREATE VIEW Packages AS WITH RECURSIVE r(blob) AS (SELECT 1 UNION ALL SELECT blob + 1 FROM r) SELECT blob FROM r WHERE blob < 0")
        self.assert_clean_refusal(build(), "interrupted")
        self.write("Packages", "Berkeley\n")
        self.assert_clean_refusal(build("Packages"), "Berkeley DB's form, which is not read")
        self.write("Packages.db", "short\n")
        self.assert_clean_refusal(build("Packages.db"), "damaged, or of a form that is not known")

    def test_the_same_input_says_the_same_at_one_time(self):
        digests = {self.build("-t", "same:1", "--no-cache", "--provenance=mode=max", "--sbom", "--build-arg", "SOURCE_DATE_EPOCH=1000")[1]["digest"] for _ in range(2)}
        self.assertEqual(len(digests), 1, digests)

    def test_nothing_is_said_unless_asked(self):
        self.build("-t", "quiet:1", "--provenance", "--sbom")
        for options in ((), ("--provenance=false", "--sbom=false")):
            blobs, top = self.build("-t", "quiet:1", *options)
            self.assertEqual(top["mediaType"], "application/vnd.oci.image.manifest.v1+json")
            self.assertFalse([b for b in blobs.values() if b"in-toto" in b])
        for wrong, words in (("--provenance=mode=most", "mode=min|max"), ("--sbom=generator=x", "--sbom")):
            self.assert_clean_refusal(self.build(wrong, check=False), words)

    def test_a_registry_carries_them(self):
        if not shutil.which("skopeo"):
            self.skipTest("skopeo is not installed")
        port = free_port()
        name = f"127.0.0.1:{port}/said:1"
        self.d.stop()
        self.d.start("--registry", str(port))
        self.d.drover("build", "-q", "-t", name, "--provenance=mode=max", "--sbom", "--push", self.folder)
        raw = json.loads(run(["skopeo", "--insecure-policy", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"]).out)
        self.assertEqual([m["platform"]["os"] for m in raw["manifests"]], ["linux", "unknown"])
        into = os.path.join(self.d.root, "copied")
        run(["skopeo", "--insecure-policy", "copy", "-q", "--all", "--src-tls-verify=false", f"docker://{name}", f"dir:{into}"])
        types = set()
        for blob in os.listdir(into):
            with open(os.path.join(into, blob), "rb") as f:
                text = f.read()
            if text.startswith(b'{"_type"'):
                types.add(json.loads(text)["predicateType"])
        self.assertEqual(types, {"https://spdx.dev/Document", "https://slsa.dev/provenance/v1"})
        # docker push brings them, too, and a pull gives the image.
        again = name.replace("said", "again")
        self.d.docker("tag", name, again)
        self.d.docker("push", again)
        self.assertEqual(json.loads(run(["skopeo", "--insecure-policy", "inspect", "--raw", "--tls-verify=false", f"docker://{again}"]).out), raw)
        identity = self.d.inspect(name)["Id"]
        self.d.docker("rmi", name, again)
        self.d.docker("pull", name)
        self.assertEqual(self.d.inspect(name)["Id"], identity)
        self.d.drover("build", "-q", "-t", "team/own:1", "--provenance", "--push", self.folder)
        own = json.loads(run(["skopeo", "--insecure-policy", "inspect", "--raw", "--tls-verify=false", f"docker://127.0.0.1:{port}/team/own:1"]).out)
        self.assertEqual([m["platform"]["os"] for m in own["manifests"]], ["linux", "unknown"])

    def test_each_platform_has_its_own(self):
        self.write("Dockerfile", "FROM scratch\nCOPY status /status\n")
        blobs, top = self.build("--platform", "linux/amd64,linux/s390x", "--provenance")
        index = json.loads(blobs[top["digest"].split(":")[1]])
        self.assertEqual([m["platform"]["architecture"] for m in index["manifests"]], ["amd64", "s390x", "unknown", "unknown"])
        self.assertEqual([m["annotations"]["vnd.docker.reference.digest"] for m in index["manifests"][2:]], [m["digest"] for m in index["manifests"][:2]])

    def test_services_have_them_by_their_file(self):
        self.write("compose.yaml", "services:\n  a:\n    image: service:1\n    build: {context: ., provenance: mode=max, sbom: true}\n")
        self.d.drover("build", "--compose-file", os.path.join(self.folder, "compose.yaml"))
        index = self.d.api("GET", "/drover/index?names=service:1")[2]
        self.assertIn(b"https://slsa.dev/provenance/v1", index)
        self.assertIn(b"https://spdx.dev/Document", index)
