//! What was meant by a key that has no meaning where it stands?

use crate::config::diagnostic::Diagnostic;
use crate::config::directives::{Directive, ELSEWHERE, Place};
use crate::config::suggest::closest;
use crate::config::written::Key;

/// A key that the directive table does not have in that place.
pub(super) fn unknown_key(place: Place, key: &Key) -> Diagnostic {
    let name = key.name.as_str();
    let mistake = |message: String| Diagnostic::error(message).at(key.span.clone());
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    };
    if let Some((.., instead)) = ELSEWHERE.iter().find(|(places, pattern, _)| places.contains(&place) && fits(pattern))
    {
        return mistake(format!("`{name}` is not a setting of weir")).note(*instead);
    }
    let here = Directive::of(place).map(|directive| directive.key);
    let elsewhere: Vec<Place> =
        Place::ALL.into_iter().filter(|place| Directive::find(*place, name).is_some()).collect();
    if let Some(first) = elsewhere.first() {
        let places: Vec<&str> = elsewhere.iter().map(|place| place.phrase()).collect();
        let mistake = mistake(format!("`{name}` cannot stand {}", place.phrase()));
        let mistake = mistake.help(format!("it stands {}", places.join(", or ")));
        return match first {
            Place::Top => mistake.help("what belongs to the top must come before the first line in [brackets]"),
            _ => mistake,
        };
    }
    if let Some(known) = closest(name, here) {
        return mistake(format!("unknown setting `{name}`")).help(format!("did you mean `{known}`?"));
    }
    let everywhere = Place::ALL.into_iter().flat_map(|place| Directive::of(place).map(move |found| (place, found.key)));
    let (places, keys): (Vec<Place>, Vec<&str>) = everywhere.unzip();
    let mistake = mistake(format!("unknown setting `{name}`"));
    match closest(name, keys.iter().copied()) {
        Some(known) => {
            let place = keys.iter().position(|key| *key == known).map_or("", |index| places[index].phrase());
            mistake.help(format!("did you mean `{known}`, which stands {place}?"))
        }
        None => mistake.help("every setting is in docs/configuration.md and in config/full.toml"),
    }
}
