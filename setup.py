"""What pyproject.toml cannot say: Resources, which lies at the repository's root, is data of the package in a wheel."""

from setuptools import find_namespace_packages, find_packages, setup

RESOURCES = ["XAIExplainLib.Resources"]
RESOURCES += [f"XAIExplainLib.Resources.{name}" for name in find_namespace_packages("Resources")]

setup(
    packages=[*find_packages(include=["XAIExplainLib", "XAIExplainLib.*"]), *RESOURCES],
    package_dir={"XAIExplainLib": "XAIExplainLib", "XAIExplainLib.Resources": "Resources"},
    package_data={name: ["**/*"] for name in RESOURCES},
)
