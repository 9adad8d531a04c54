"""The one error that a user can cause and mend."""


class UserError(ValueError):
  """Bad input: the message names the thing, its value and the remedy.

  The command-line programs print it as one line and exit with status 1;
  everything else that is raised is a defect and keeps its traceback.
  """
