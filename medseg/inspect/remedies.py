"""What to do about a refusal: where its sentence names a way out, the remedy agrees with it.

Refusals of files and folders end with what to do (convert it, save it upright, say --read …). A remedy beside them that
says another thing would send people the wrong way; so it points at the sentence, and adds what always helps.
"""

import re

__all__ = ["GIVE_OPTION", "remedy_for"]

GIVE_OPTION = "Give the option that fits, for all cases or in the column read of a table; or take the case out."

_DO_SO = "Do what the sentence says, or take the case out of the data set."

_WORDS = "convert|save|store|write|unpack|cut|set|put|use|choose|keep|rename|declare|correct|mend"

_INSTRUCTION = re.compile(rf"(?:[.;:,?]|\band|\bor) +(?:{_WORDS})\b", re.IGNORECASE)
"""How a clause begins that says what to do. To copy a file again is for damaged files, and is no such clause."""


def remedy_for(sentence: str, otherwise: str) -> str:
    """The remedy beside a refusal; `otherwise` where its sentence offers none.

    >>> remedy_for("a.nii has 3 volumes; say --read volume=0 to take the first.", "Copy it again.") == GIVE_OPTION
    True
    >>> remedy_for("a.mnc is MINC, which medseg does not read; convert it to NIfTI.", "Copy it again.") == _DO_SO
    True
    >>> remedy_for("a.nii is cut off.", "Copy it again.")
    'Copy it again.'
    """
    if "--read " in sentence:
        return GIVE_OPTION
    return _DO_SO if _INSTRUCTION.search(sentence) else otherwise
