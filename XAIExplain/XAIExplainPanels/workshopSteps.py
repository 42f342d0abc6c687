"""The steps of the workshop: one list, from which the guide in the panel and the page in docs/workshop are made."""

from collections import namedtuple

from slicer.i18n import tr as _

from XAIExplainPanels import workshopChecks as checks

# `do` is a list of sentences, in which <b>...</b> is what stands on the screen. `look`, `question` and `answer` are
# texts. `places` are the panels of the desk where it is done, the uppermost first. `missing` takes a `Situation` and
# says in a sentence what is still to be done; nothing is where it is done.
Step = namedtuple("Step", "key title minutes do look question answer places missing")


def steps():
    """The steps in their order."""
    return [*_explain(), *_beFooled(), *_findTheShortcut()]


def _explain():
    """A case, the answer, four methods."""
    return [
        Step(
            "load", _("Load a case"), 3,
            [_("In <b>Case</b>, choose the example <b>Ring-enhancing lesion</b>."),
             _("Press <b>Load example</b>. The network is asked about it at once."),
             _("Turn the mouse wheel over the slices until you have found the lesion.")],
            _("A bright ring with a dark core. A program has put it into a real anatomy, so its true place is "
              "known."),
            _("Where is the lesion?"),
            _("On the patient's right, at the back and low: 28 mm to the right, 61 mm back and 16 mm down from "
              "the middle. The patient's right is on the left of the picture."),
            ("case",), checks.isLoaded),
        Step(
            "predict", _("Read the answer, and say what you expect"), 4,
            [_("Read in <b>Model and its answer</b> what the network answers, and how sure it is."),
             _("Before you see any map, write into the notes below where a network that is right should look.")],
            _("The bars add up to one. The network can only say what it was taught: healthy, enhancing or dark."),
            _("The network says enhancing with 96 %. Is it right in 96 of 100 such cases?"),
            _("Nobody knows from this number: it is computed, not counted. What was counted is on the model's "
              "card. Of 240 cases that it had never seen, it named 81 % rightly, and all its errors were lesions "
              "that it called healthy."),
            ("modelPanel",), checks.isAsked),
        Step(
            "grad_cam", _("Where about? Grad-CAM"), 4,
            [_("In <b>Question</b>, at <b>Why</b>, choose <b>lesion (together)</b>: enhancing or dark."),
             _("In <b>Explanation</b>, choose <b>Grad-CAM</b>."),
             _("Press <b>Apply</b>.")],
            _("A soft blob. It was computed in cells of 20 mm and then made smooth: it says where about, not "
              "where exactly."),
            _("The blob is larger than the lesion. Does the network look at healthy brain?"),
            _("This map cannot tell. A cell is as large as the whole lesion. Of the sum of the map, 1 % lies in "
              "the lesion, and its strongest voxel lies beside it; still the blob is where the lesion is."),
            ("target", "method"), checks.explained("grad_cam")),
        Step(
            "occlusion", _("What if it were covered? Occlusion"), 4,
            [_("Leave the question as it is. In <b>Explanation</b>, choose <b>Occlusion sensitivity</b>."),
             _("Press <b>Apply</b>. The line below says how long it takes, and the map grows while it runs.")],
            _("Boxes. Each was covered in turn; its color says how much the score for a lesion fell, or rose."),
            _("Some boxes far from the lesion have a color, too. Why?"),
            _("A covered picture is one that the network has never seen: the edge of the cover can itself look "
              "like something. And where two places say the same, covering one of them changes little."),
            ("target", "method"), checks.explained("occlusion")),
        Step(
            "lrp", _("Who made the score? LRP"), 3,
            [_("In <b>Explanation</b>, choose <b>LRP (relevance)</b>."),
             _("Press <b>Apply</b>.")],
            _("The rim of the lesion. The score was handed back layer by layer, each time to what had made it."),
            _("It is the sharpest so far. Is it the truest?"),
            _("Sharp is not true. Other rules of handing back give other maps. What speaks for this one can be "
              "read: the parts add up to the score (see Result), and here, where the truth is known, 44 % of what "
              "speaks for the answer lies in the lesion."),
            ("target", "method"), checks.explained("lrp")),
        Step(
            "guided", _("What do the features react to? Guided backpropagation"), 3,
            [_("In <b>Explanation</b>, choose <b>Guided backpropagation</b>."),
             _("Press <b>Apply</b>."),
             _("Write into the notes which of the four maps you would show to a colleague.")],
            _("Rings in two colors, inside one another: brighter here and darker there would make the score "
              "higher."),
            _("Which of the four do you trust most, and why?"),
            _("Many choose LRP or this one, because they are sharp and lie on the lesion. Keep your choice in "
              "mind: soon you will judge it again."),
            ("target", "method"), checks.isGuided),
        Step(
            "compare", _("Four maps side by side"), 5,
            [_("Open <b>Compare</b>. All four results are checked."),
             _("Press <b>Compare</b> below the list."),
             _("Turn the mouse wheel over one view: all four follow.")],
            _("Each map has its own view, drawn by its own strength. Compare where they are, not how bright they "
              "are."),
            _("On what do the four agree, and on what not?"),
            _("All mark the lesion. They do not agree on how far it reaches, on its sign, and on further spots. "
              "What only one map shows may come from the method and not from the network."),
            ("compare",), checks.isCompared),
    ]


def _beFooled():
    """A network that has learned nothing, and what unmasks it."""
    return [
        Step(
            "random", _("A network that has learned nothing"), 4,
            [_("Press <b>Back</b> in <b>Compare</b>."),
             _("In <b>Model and its answer</b>, choose <b>Brain lesion, random weights</b>. Nobody has ever "
               "trained it."),
             _("Press <b>Ask the network</b>.")],
            _("Its answer is enhancing, and that is right."),
            _("How could you find out that it knows nothing, without any map?"),
            _("Ask it about another brain. It gives the same answer to all of the examples, healthy ones too: 41 "
              "% enhancing. That it is right here is luck. One case proves nothing."),
            ("compare", "modelPanel"), checks.isRandomAsked),
        Step(
            "fooled", _("Be fooled"), 4,
            [_("At <b>Why</b>, <b>lesion (together)</b> is still chosen. In <b>Explanation</b>, choose <b>Guided "
               "backpropagation</b>."),
             _("Press <b>Apply</b>."),
             _("In <b>Map</b>, at <b>Threshold</b>, hide the weakest 99 %.")],
            _("The slices stop at the strongest voxel, and it lies in the lesion. In the green view you see the "
              "rim of the ring, as if the network knew it."),
            _("How can a network that has learned nothing find the lesion?"),
            _("It has not found it. Guided backpropagation lets through only what makes features stronger, and so "
              "it redraws what stands out in the picture; the ring does. We chose this network because it fools "
              "best: of 24 random ones, 8 have their strongest voxel in the lesion."),
            ("target", "method"), checks.isFooled),
        Step(
            "truth", _("Compare with the truth"), 6,
            [_("Open <b>Segments</b> and press <b>Load the truth of this example</b>."),
             _("Press <b>Against the segment</b>. All five maps are measured."),
             _("Compare the two rows of Guided backpropagation.")],
            _("The green line is the truth. In the table, 1 is the best, and the last row is a map that knows "
              "nothing."),
            _("Which figure unmasks the random network?"),
            _("Not the peak: both maps have it inside. The mass does, 0.01 against 0.31, and the AUPRC, 0.11 "
              "against 0.59. But 0.11 is a hundred times what chance reaches: without the other row beside it, "
              "you would have believed it. That a map lies on the lesion does not prove that the network knows "
              "lesions."),
            ("regions",), checks.isMeasured),
    ]


def _findTheShortcut():
    """A network that looks at a marker, and what is to be said in the end."""
    return [
        Step(
            "shortcut", _("A strange answer"), 4,
            [_("In <b>Case</b>, choose the example <b>Healthy brain with a marker beside it</b> and press <b>Load "
               "example</b>."),
             _("In <b>Model and its answer</b>, choose <b>Brain lesion, shortcut learner</b>."),
             _("Press <b>Ask the network</b>. Write into the notes what you think it has seen.")],
            _("The brain is healthy. The network is almost sure of a lesion."),
            _("What may it have learned?"),
            _("In the pictures of its training, 95 % of the lesions and 5 % of the healthy brains had a bright "
              "capsule beside the head, like those that are taped to the skin to mark a side. It learned the "
              "capsule. A test with such pictures would not have shown it: there, its AUC is 0.97."),
            ("case", "modelPanel"), checks.isShortcutAsked),
        Step(
            "find", _("Find the shortcut"), 5,
            [_("In <b>Explanation</b>, choose <b>LRP (relevance)</b> and press <b>Apply</b>."),
             _("Choose <b>Grad-CAM</b> and press <b>Apply</b>."),
             _("Choose one map and then the other in <b>Map</b>. Look outside of the brain, too.")],
            _("Front, right, above the brow, outside of the brain: LRP lies on a small capsule, Grad-CAM on a "
              "blob around it."),
            _("Which of the two tells you more exactly what the network uses?"),
            _("LRP: it draws the capsule. The blob of Grad-CAM is 45 times as large with the weakest 99 % hidden, "
              "and 450 times with 90 %: you decide how large it looks. Who looks only inside of the brain sees "
              "nothing in either map."),
            ("target", "method"), checks.isFound),
        Step(
            "marker", _("How much of it is the marker?"), 3,
            [_("Open <b>Segments</b> and press <b>Load the truth of this example</b>. Here it is the capsule."),
             _("Press <b>By segment</b>.")],
            _("The capsule fills less than one milliliter. Read what share of each map lies in it: 72 % of LRP, "
              "0.6 % of Grad-CAM."),
            _("So the network looks at the capsule. Is that proven?"),
            _("It is a strong hint. A proof needs a trial: take the marker away and ask again. The same brain "
              "without the capsule is healthy to this network, with 95 % (the file twin.nii.gz of the example)."),
            ("regions",), checks.isMarkerCounted),
        Step(
            "trial", _("The trial: a lesion without a marker"), 4,
            [_("In <b>Case</b>, at <b>Volume</b>, choose <b>Ring-enhancing lesion</b>."),
             _("Press <b>Ask the network</b>.")],
            _("You have seen this lesion, and there is no capsule beside it. The network says healthy, with 93 %. "
              "(The views still show the other brain; the network is asked about the chosen volume.)"),
            _("What does the well-trained network, Brain lesion, T1 MRI, answer about the brain with the capsule? "
              "Guess, then try it."),
            _("Enhancing, with more than 99 %, and 76 % of what speaks for it lies on the capsule. It has never "
              "seen one, and takes it for a lesion. A network is right only about what it was made for; a map can "
              "show that it is not."),
            ("case", "modelPanel"), checks.isTried),
        Step(
            "write", _("Write down what each method told you"), 4,
            [_("Write a sentence for each method into the notes: what it told you, and what it cannot tell."),
             _("Press <b>Into the report</b> below. Open <b>Report</b> and tick the maps that you need."),
             _("Press <b>Web page...</b> and keep the file.")],
            _("The notes of all steps stand on each page of the report."),
            _("Which sentence under a heat map is always true?"),
            _("\u201cThe score of this network depended on this place of this picture, by this method.\u201d "
              "Neither \u201cthe network knows lesions\u201d nor \u201chere is a lesion\u201d follows from it."),
            ("report",), checks.isWritten),
    ]
