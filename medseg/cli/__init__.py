"""Words on a screen: a file a verb. Each parses, calls one function of a room below and renders what it says.

No science here. Only typer and the standard library are imported at the top of these modules, so that `medseg --help`
answers at once; a verb's rooms are imported when it runs. Environment variables are read here and nowhere else.
"""
