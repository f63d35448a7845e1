"""The one hierarchy of errors that the extension raises on purpose."""

from .sentence import Sentence, showable


class GvfBlenderError(Exception):
    """Something the artist can understand and act on.

    Attributes:
        message: One sentence that says what was wrong and names the thing.
        hint: One sentence that says what to do next; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(showable(f"{message} {hint}".strip()))
        self.message, self.hint = (part if isinstance(part, Sentence) else showable(part) for part in (message, hint))

    @property
    def text(self) -> Sentence:
        """Both sentences, to be translated as far as there are translations."""
        message, hint = (part if isinstance(part, Sentence) else Sentence(part) for part in (self.message, self.hint))
        return Sentence("{message} {hint}", message=message, hint=hint) if self.hint else message


class DefectError(GvfBlenderError):
    """Something failed that nobody expects to; the console has the traceback.

    Args:
        what: What failed, as the beginning of a sentence.
        error: Why.
    """

    def __init__(self, what: str, error: Exception) -> None:
        super().__init__(
            f"{what} ({type(error).__name__}: {error}).",
            "Please report this together with the text in the system console.",
        )


class SelectionError(GvfBlenderError):
    """The selected objects cannot be captured."""


class RenderError(GvfBlenderError):
    """Blender could not render a view of the asset."""


class FileError(GvfBlenderError):
    """A file cannot be read or written, or is not what it should be."""


class SettingsError(GvfBlenderError):
    """A setting has a value outside its range or an unknown name."""


class ServerError(GvfBlenderError):
    """The server cannot be reached, refuses, or reports a failure.

    Attributes:
        code: The server's machine-readable name of the failure, or "unreachable".
    """

    def __init__(self, message: str, hint: str = "", code: str = "server") -> None:
        super().__init__(message, hint)
        self.code = code


class JobCancelled(GvfBlenderError):
    """The artist cancelled the job."""

    def __init__(self, message: str = "Cancelled.", hint: str = "") -> None:
        super().__init__(message, hint)
