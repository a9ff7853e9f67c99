//! `top_interactions`: what accounts did to other accounts in 24 hours.

use expect_test::expect;
use skytide_core::view::ViewId;
use skytide_dataflow::fact::{Edge, Fact, Reaction, Subject};

use crate::{at, check, did, like, post, post_key};

/// A post with a text of so many characters. An empty name means no parent or no quoted post.
fn text(name: &str, parent: &str, quote: &str, characters: u32) -> Fact {
    let subject = |name: &str| (!name.is_empty()).then(|| Subject::Post(post_key(name)));
    post(name, 0, |post| {
        post.parent = subject(parent);
        post.quote = subject(quote);
        post.characters = characters;
    })
}

fn block(author: &str, subject: &str) -> Fact {
    Fact::Block(Edge {
        author: did(author),
        subject: (!subject.is_empty()).then(|| did(subject)),
        first_seen: at(0),
    })
}

fn insert<const N: usize>(facts: [Fact; N]) -> Vec<(Fact, i32)> {
    facts.into_iter().map(|fact| (fact, 1)).collect()
}

#[test]
fn acts_on_oneself_and_on_nobody_are_left_out() {
    let of_nobody = Fact::Repost(Reaction {
        author: did("ana"),
        subject: None,
        first_seen: at(0),
    });
    let facts = insert([
        like("ana", "bea/p", 0),
        like("bea", "bea/p", 0),
        like("bea", "bea/q", 0),
        of_nobody,
        block("ana", "ana"),
        block("ana", "bea"),
        block("ana", ""),
    ]);
    check(
        &[ViewId::TopInteractions],
        vec![(0, facts), (1, vec![(like("ana", "bea/p", 0), -1)])],
        expect![[r#"
            t1 +1 top_interactions 24h blocks_from_others : bea 1
            t1 +1 top_interactions 24h blocks_to_others : ana 1
            t1 +1 top_interactions 24h likes_from_others : bea 1
            t1 +1 top_interactions 24h likes_to_others : ana 1
            t2 -1 top_interactions 24h likes_from_others : bea 1
            t2 -1 top_interactions 24h likes_to_others : ana 1
        "#]],
    );
}

#[test]
fn a_post_acts_on_one_account_and_its_characters_are_summed() {
    let facts = insert([
        text("ana/both", "bea/p", "cai/p", 5),
        text("cai/quote", "", "bea/p", 7),
        text("ana/reply", "cai/p", "", 0),
        // A reply to oneself counts for nobody, even if it quotes another account.
        text("bea/thread", "bea/p", "cai/p", 1_000),
        text("bea/alone", "", "", 1_000),
    ]);
    check(
        &[ViewId::TopInteractions],
        vec![
            (0, facts),
            // An edit changes the sum, but not the number of posts.
            (
                1,
                vec![
                    (text("ana/both", "bea/p", "cai/p", 5), -1),
                    (text("ana/both", "bea/p", "cai/p", 8), 1),
                ],
            ),
            (2, vec![(text("cai/quote", "", "bea/p", 7), -1)]),
            (1_440, vec![]),
        ],
        expect![[r#"
            t1 +1 top_interactions 24h posts_from_others : bea 2/12, cai 1
            t1 +1 top_interactions 24h posts_to_others : ana 2/5, cai 1/7
            t2 -1 top_interactions 24h posts_from_others : bea 2/12, cai 1
            t2 -1 top_interactions 24h posts_to_others : ana 2/5, cai 1/7
            t2 +1 top_interactions 24h posts_from_others : bea 2/15, cai 1
            t2 +1 top_interactions 24h posts_to_others : ana 2/8, cai 1/7
            t3 -1 top_interactions 24h posts_from_others : bea 2/15, cai 1
            t3 -1 top_interactions 24h posts_to_others : ana 2/8, cai 1/7
            t3 +1 top_interactions 24h posts_from_others : bea 1/8, cai 1
            t3 +1 top_interactions 24h posts_to_others : ana 2/8
            t4 -1 top_interactions 24h posts_from_others : bea 1/8, cai 1
            t4 -1 top_interactions 24h posts_to_others : ana 2/8
        "#]],
    );
}

#[test]
fn equal_counts_are_ordered_by_did_and_not_by_characters() {
    let facts = insert([
        text("cai/1", "ana/p", "", 1),
        text("bea/1", "ana/p", "", 1),
        text("dan/1", "ana/p", "", 9),
    ]);
    check(
        &[ViewId::TopInteractions],
        vec![(0, facts)],
        expect![[r#"
            t1 +1 top_interactions 24h posts_from_others : ana 3/11
            t1 +1 top_interactions 24h posts_to_others : bea 1/1, cai 1/1, dan 1/9
        "#]],
    );
}
