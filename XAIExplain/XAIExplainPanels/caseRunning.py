"""Many cases explained by a script."""

from XAIExplainPanels.caseItems import caseOf
from XAIExplainPanels.caseQueue import identity
from XAIExplainPanels.waiting import wait


def runCases(logic, cases, question, waits=True):
    """
    Explain many cases; see `ExplainLogic.runCases`.

    :return: the cases, with state, answer, outcomes, mapNode, problem.
    """
    queue = logic.queue
    made = [caseOf(what) for what in cases]
    known = {identity(case): case for case in queue.cases}
    made = [known.get(identity(case), case) for case in made]
    queue.add(made)
    queue.start(question, made)
    if waits:
        wait(logic.engine, lambda: not queue.running)
    return made
