//! `app.bsky.actor.profile`.

use super::{blob, write_blob};
use crate::cbor::Cbor;
use crate::content::{Content, ProfileContent};
use crate::random::{Random, mix};
use crate::words::{language, names};
use crate::world::World;
use crate::world::accounts::RecordClass;

/// The name, description and picture in a version of an account's profile.
pub(crate) fn content(world: &World, account: u32, version: u8) -> ProfileContent {
    let holder = &world.accounts[account as usize];
    let seed = mix(&[
        world.options.seed,
        21,
        u64::from(account),
        u64::from(version),
    ]);
    let mut random = Random::new(seed);
    let mut description = String::new();
    for word in 0..3 + random.below(12) {
        if word > 0 {
            description.push_str(language(holder.lang).space);
        }
        language(holder.lang).word(&mut random, &mut description);
    }
    ProfileContent {
        display_name: names::display(mix(&[u64::from(account), u64::from(version / 2)])),
        description,
        avatar: random.percent(80).then(|| blob(seed).to_string()),
    }
}

/// The bytes of the profile and its content.
pub(super) fn render(
    world: &World,
    account: u32,
    version: u8,
    created: Option<String>,
) -> (Vec<u8>, Content) {
    let profile = content(world, account, version);
    let mut cbor = Cbor::with_capacity(400);
    cbor.map(3 + usize::from(profile.avatar.is_some()) + usize::from(created.is_some()));
    cbor.text("$type").text(RecordClass::Profile.collection());
    if profile.avatar.is_some() {
        let seed = mix(&[
            world.options.seed,
            21,
            u64::from(account),
            u64::from(version),
        ]);
        cbor.text("avatar");
        write_blob(&mut cbor, seed, "image/jpeg");
    }
    if let Some(created) = created {
        cbor.text("createdAt").text(&created);
    }
    cbor.text("description").text(&profile.description);
    cbor.text("displayName").text(&profile.display_name);
    (cbor.0, Content::Profile(Box::new(profile)))
}
