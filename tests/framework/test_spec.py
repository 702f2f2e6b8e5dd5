from omegaconf import OmegaConf

from steelyard import spec


def test_equal_experiments_have_equal_hashes() -> None:
    one, other = OmegaConf.create({"a": 1, "b": {"c": 2}}), OmegaConf.create({"b": {"c": 2}, "a": 1})
    assert spec.spec_hash(one) == spec.spec_hash(other)


def test_what_changes_no_number_changes_no_hash() -> None:
    one = OmegaConf.create({"a": 1})
    other = OmegaConf.create({"a": 1, "logger": {"x": 1}, "require": {"y": 1}, "hydra": {}, "paths": {}, "report": 1})
    assert spec.spec_hash(one) == spec.spec_hash(other)


def test_config_and_facts_change_the_hash() -> None:
    one = OmegaConf.create({"a": 1})
    hashes = {spec.spec_hash(one), spec.spec_hash(OmegaConf.create({"a": 2})), spec.spec_hash(one, facts={"data": "x"})}
    assert len(hashes) == 3


def test_the_time_of_day_stays_text() -> None:
    config = OmegaConf.create({"a": "${now:%H-%M-%S}", "b": "${hydra:job.num}", "c": "${oc.env:TOKEN}"})
    assert spec.plain(config) == {"a": "${now:%H-%M-%S}", "b": "${hydra:job.num}", "c": "${oc.env:TOKEN}"}


def test_secrets_are_masked_and_references_to_them_are_not() -> None:
    tree = {
        "logger": {"api_key": "abc", "token": "${oc.env:TOKEN}", "name": "x", "password": None},
        "list": [{"client_secret": "s"}],
        "tokenizer": "bert",
        "monkey": "banana",
    }
    assert spec.masked(tree) == {
        "logger": {"api_key": "***", "token": "${oc.env:TOKEN}", "name": "x", "password": None},
        "list": [{"client_secret": "***"}],
        "tokenizer": "bert",
        "monkey": "banana",
    }
    assert spec.masked_paths(spec.masked(tree)) == ["logger.api_key"]


def test_the_command_line_keeps_no_secret() -> None:
    words = ["+logger.api_key=abc", "seed=1", "logger.token=${oc.env:TOKEN}"]
    assert spec.masked_overrides(words) == ("+logger.api_key=***", "seed=1", "logger.token=${oc.env:TOKEN}")


def test_a_secret_does_not_enter_the_hash() -> None:
    hashes = {spec.spec_hash(OmegaConf.create({"x": {"password": word}})) for word in ("one", "two")}
    assert len(hashes) == 1


def test_a_value_counts_and_not_whether_it_is_written_or_referred_to() -> None:
    written = OmegaConf.create({"a": {"delta": 1e-5, "all": [2]}, "b": {"delta": 1e-5, "c": {"all": [2]}}})
    referred = OmegaConf.create(
        {"a": {"delta": 1e-5, "all": [2]}, "b": {"delta": "${a.delta}", "c": {"all": "${a.all}"}}}
    )
    assert spec.spec_hash(written) == spec.spec_hash(referred)
    referred.a.delta = 1e-6
    assert spec.followed(referred)["b"]["delta"] == 1e-6
    nowhere = OmegaConf.create({"a": "${not.there}", "b": "${oc.env:NAME}", "c": "???"})
    assert spec.followed(nowhere) == {"a": "${not.there}", "b": "${oc.env:NAME}", "c": "???"}
