"""The release's workflow, as far as it can be read without the service that runs it."""

import json
import pathlib
import re
import tempfile
import unittest

import yaml

from rendered import PROJECT, output

WORKFLOW = PROJECT / ".github/workflows/release.yml"


class Release(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.workflow = yaml.safe_load(WORKFLOW.read_text())

    def steps(self):
        for name, job in self.workflow["jobs"].items():
            for step in job["steps"]:
                yield name, step

    def test_every_script_is_a_script_and_there(self):
        called = set()
        for name, step in self.steps():
            script = re.sub(r"\$\{\{.*?\}\}", "it", step.get("run", ""))
            with self.subTest(name=name, script=script):
                output(["bash", "-n", "-c", script])
            called |= set(re.findall(r"(?<![\w/.])(?:\.ci|deploy)/[\w./-]+", script))
        self.assertIn(".ci/run", called)
        self.assertIn("deploy/image/build-binary", called)
        for file in called:
            self.assertTrue((PROJECT / file).exists(), file)

    def test_nothing_is_published_before_it_is_checked(self):
        jobs = self.workflow["jobs"]
        for name in ("binary", "image"):
            self.assertEqual(jobs[name]["needs"], "check")
        self.assertEqual(set(jobs["publish"]["needs"]), {"binary", "image"})
        self.assertNotIn("needs", jobs["check"])

    def test_what_others_wrote_is_named_by_its_content(self):
        """Whoever can move a tag could publish in our name."""
        uses = [step["uses"] for _, step in self.steps() if "uses" in step]
        self.assertTrue(uses)
        for action in uses:
            self.assertRegex(action, "^[a-z-]+/[a-z-]+@[0-9a-f]{40}$")

    def test_each_job_may_do_what_it_needs_alone(self):
        self.assertEqual(self.workflow["permissions"], {})
        for name, job in self.workflow["jobs"].items():
            self.assertEqual("id-token" in job["permissions"], name == "publish", name)
            self.assertEqual(
                job["permissions"]["contents"], "write" if name == "publish" else "read", name
            )
            self.assertIn("timeout-minutes", job)

    def test_who_signed_it_is_this_workflow_of_one_repository_alone(self):
        page = (PROJECT / "docs/operations.md").read_text()
        identities = re.findall("--certificate-identity-regexp '(.*)'", page)
        self.assertEqual(len(identities), 2)
        path = WORKFLOW.relative_to(PROJECT)
        signed = f"https://github.com/OWNER/gatepass/{path}@refs/tags/v1.2.3"
        for identity in identities:
            # cosign asks whether it is found anywhere.
            self.assertTrue(re.search(identity, signed))
            for other in (
                signed.replace("OWNER", "other"),
                signed.replace("gatepass", "gatepass-too"),
                f"https://id.example/{signed}",
                signed.replace("tags/v1.2.3", "heads/main"),
                signed.replace("v1.2.3", "v1.2.3-mine"),
            ):
                self.assertIsNone(re.search(identity, other), other)

    def test_an_archive_has_the_pages_that_its_readme_leads_to(self):
        [script] = [step["run"] for _, step in self.steps() if 'cp -r' in step.get("run", "")]
        [copied] = re.findall('cp -r (.*) "\\$NAME"', script)
        [left_out] = re.findall('rm -r "\\$NAME/(.*)"', script)
        links = set(re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (PROJECT / "README.md").read_text()))
        # What builds and measures it is of use in a checkout alone.
        links = {link for link in links if not link.startswith((left_out, "benches/"))}
        self.assertGreater(len(links), 10)
        for link in links:
            self.assertIn(link.split("/")[0], copied.split(), link)
            self.assertTrue((PROJECT / link).exists(), link)

    def test_the_changelog_has_the_form_that_notes_are_taken_from(self):
        changelog = (PROJECT / "CHANGELOG.md").read_text()
        heads = re.findall(r"(?m)^## (.*)$", changelog)
        self.assertEqual(heads[0], "[Unreleased]")
        for head in heads[1:]:
            self.assertRegex(head, r"^\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d$")
        kinds = set(re.findall(r"(?m)^### (.*)$", changelog))
        self.assertLessEqual(
            kinds, {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
        )

    def test_the_dockerfile_has_no_faults(self):
        output(["hadolint", "deploy/image/Dockerfile"])

    def test_the_dockerfile_has_the_toolchain_and_the_version_of_the_crate(self):
        dockerfile = (PROJECT / "deploy/image/Dockerfile").read_text()
        cargo = (PROJECT / "Cargo.toml").read_text()
        [toolchain] = re.findall('(?m)^rust-version = "(.*)"$', cargo)
        [version] = re.findall('(?m)^version = "(.*)"$', cargo)
        self.assertIn(f"library/rust:{toolchain}-", dockerfile)
        self.assertIn(f"toolchain install {toolchain}.", WORKFLOW.read_text())
        self.assertIn(f"ARG VERSION={version}\n", dockerfile)

    def test_one_command_lists_what_is_in_the_binary(self):
        with tempfile.TemporaryDirectory() as directory:
            file = pathlib.Path(directory, "gatepass.cdx.json")
            output(["deploy/image/bill-of-materials", file], patience=900)
            bill = json.loads(file.read_text())
        self.assertEqual(bill["bomFormat"], "CycloneDX")
        parts = {part["name"]: part for part in bill["components"]}
        for name in ("aws-lc-rs", "hyper", "rustls", "tokio"):
            self.assertTrue(parts[name]["version"], name)
            self.assertTrue(parts[name]["hashes"] and parts[name]["licenses"], name)
        # What is for tests alone is not in it.
        self.assertNotIn("insta", parts)
        self.assertNotIn(str(PROJECT), json.dumps(bill))
