"""The one hierarchy of errors that `gvf_core` raises on purpose."""


class GvfError(Exception):
    """Something the user can understand and act on.

    Attributes:
        code: Stable machine-readable name, for clients and tests.
        message: One sentence that says what was wrong, with the value.
        hint: One sentence that says what to do next; may be empty.
    """

    code = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint

    def __reduce__(self):
        """Survive the trip between processes, where exceptions are pickled by their arguments."""
        return type(self), (self.message, self.hint)


class FileFormatError(GvfError):
    """A file is not what its reader expects."""

    code = "bad_file"


class FileNotWrittenError(GvfError):
    """A file cannot be written (full disk, a folder in its place, no permission)."""

    code = "result_not_written"


class WeightsError(GvfError):
    """Network weights do not fit, are damaged, or cannot be had."""

    code = "bad_weights"


class SamplingError(GvfError):
    """A network's answers lead a sampler nowhere (values that are not finite)."""

    code = "bad_sample"


class CaptureError(GvfError):
    """The captured asset cannot be animated (no faces, not finite, wrong shapes)."""

    code = "bad_capture"


class VideoError(GvfError):
    """The driving video cannot be used (unreadable, empty, too short, nothing in it)."""

    code = "bad_video"


class RenderError(GvfError):
    """Gaussians cannot be rendered as asked (shapes, types, camera, backend)."""

    code = "bad_render"


class BlenderError(GvfError):
    """Blender, run without a window, broke down."""

    code = "blender"


class SettingsError(GvfError):
    """A setting has a value outside its range or an unknown name."""

    code = "bad_settings"


class Cancelled(GvfError):
    """The caller asked to stop."""

    code = "cancelled"

    def __init__(self, message: str = "Cancelled.", hint: str = "") -> None:
        super().__init__(message, hint)
