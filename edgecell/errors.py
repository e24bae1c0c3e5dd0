"""Every error that edgecell raises on purpose, and the exit code that the command line gives it.

EdgecellError                        exit 1
├── SettingsError                    exit 2   settings, command line, paths
├── MissingDependency                exit 3   an optional library, driver or device runtime
├── BundleError                      exit 4   a model bundle that cannot be opened
│   ├── BundleCorrupt                         its files are not the ones its manifest lists
│   └── BundleMismatch                        its answers are not the ones it was certified with
├── SourceError                      exit 5   a camera, file or folder
│   ├── SourceUnavailable                     cannot be opened
│   ├── NotMeasurable                         the pictures do not show what was to be measured
│   ├── FrameTimeout *                        nothing arrived in time (never: "no cells")
│   └── FrameCorrupt *                        a frame arrived that cannot be used
├── EngineError                      exit 6   the inference engine
│   ├── EngineBuildError
│   └── InferenceError
├── PublishError                     exit 7   the bus
└── JournalError                     exit 8   the durable record
    └── JournalBlocked *                      cannot be written now: the disk is full, or another program locks it

* transient: the runtime counts it and goes on, or tries again.
"""

LONGEST = 700
"""Characters of what went wrong, and of its fix. A name that somebody made up may be as long as a file."""


class EdgecellError(Exception):
    """Base of the tree. `what` went wrong, and the `fix` that the user can apply; of a long text the middle is left out."""

    exit_code = 1

    def __init__(self, what: str, *, fix: str = "") -> None:
        self.what, self.fix = _shortened(what), _shortened(fix)
        super().__init__(self.what)

    def __str__(self) -> str:
        return f"{self.what}. Fix: {self.fix}" if self.fix else self.what


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"


class SettingsError(EdgecellError):
    exit_code = 2


class MissingDependency(EdgecellError):
    exit_code = 3


class BundleError(EdgecellError):
    exit_code = 4


class BundleCorrupt(BundleError):
    pass


class BundleMismatch(BundleError):
    pass


class SourceError(EdgecellError):
    exit_code = 5


class SourceUnavailable(SourceError):
    pass


class NotMeasurable(SourceError):
    pass


class FrameTimeout(SourceError):
    pass


class FrameCorrupt(SourceError):
    """A frame that cannot be used. It still took a frame index: `index` is that place in the source's numbering."""

    def __init__(self, what: str, *, fix: str = "", index: int) -> None:
        super().__init__(what, fix=fix)
        self.index = index


class EngineError(EdgecellError):
    exit_code = 6


class EngineBuildError(EngineError):
    pass


class InferenceError(EngineError):
    pass


class PublishError(EdgecellError):
    exit_code = 7


class JournalError(EdgecellError):
    exit_code = 8


class JournalBlocked(JournalError):
    pass
