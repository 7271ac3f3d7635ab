"""`movseg doctor`: what keeps the package from working here, and what mends it."""

import dataclasses


@dataclasses.dataclass
class Doctor:
    """Examines this machine: versions, devices, drivers, codecs, caches, the model.

    The exit status is 1 if something keeps the package from working.

    Attributes:
        json: Print JSON, for a bug report.
        run_model: Run the model on two tiny frames, which takes some seconds.
    """

    json: bool = False
    run_model: bool = True

    def run(self) -> str:
        """Examines the machine and returns the findings."""
        from movseg_jax import doctor

        findings = doctor.examine(run_model=self.run_model)
        text = doctor.to_json(findings) if self.json else doctor.to_text(findings)
        if any(finding.status == "problem" for finding in findings):
            print(text)
            raise SystemExit(1)
        return text
