from finetune_trainer.checks.relevance import MOST_SAMPLES, Relevance

from benchmarks.checks.prose import seeded, sentence, words

RANDOM = seeded(1)
DOMAIN = [" ".join(sentence(RANDOM, "en") for _ in range(3)) for _ in range(200)]


def test_a_text_of_the_domain_scores_above_others() -> None:
    relevance = Relevance.of(DOMAIN)
    inside = relevance.score("The technician replaces the filter of the machine after the update.")
    outside = relevance.score("Der Bundestag hat am Freitag ein neues Gesetz beschlossen.")
    assert 0 <= outside < 0.1 < inside <= 1


def test_a_sample_scores_one_and_a_text_without_common_words_nothing() -> None:
    relevance = Relevance.of(DOMAIN)
    assert relevance.score(DOMAIN[0]) > 0.999
    assert relevance.score("zzz") == relevance.score("") == 0.0


def test_scores_do_not_depend_on_the_order_of_the_domain() -> None:
    texts = [" ".join(words(RANDOM, 30)) for _ in range(2 * MOST_SAMPLES)]
    one, two = Relevance.of(texts), Relevance.of(reversed(texts))
    assert one.count == two.count == MOST_SAMPLES
    assert [one.score(text) for text in texts[:50]] == [two.score(text) for text in texts[:50]]


def test_no_domain_is_near_to_nothing() -> None:
    assert Relevance.of([]).score("a text") == 0.0
