"""Why one of Blender's operators failed, as part of a sentence."""


def reason_of(error: Exception) -> str:
    """What an operator says of its failure, without what is for programmers.

    Operators in Python put their traceback before it and the place of the call after it, others a reference to a
    console that is not there after it.
    """
    lines = [
        line
        for line in str(error).strip().splitlines()
        if "see console" not in line and not line.startswith("Location: ")
    ]
    return lines[-1].removeprefix("Error: ").rstrip(".") if lines else "it does not say why"
