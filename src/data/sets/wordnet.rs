//! ImageNet's classes as folders named by WordNet id.

/// The thirty classes of ImageNet-30 (Hendrycks et al., 2019) with the names of their folders.
pub const IMAGENET_30: [(&str, &str); 30] = [
    ("acorn", "n12267677"),
    ("airliner", "n02690373"),
    ("ambulance", "n02701002"),
    ("American alligator", "n01698640"),
    ("banjo", "n02787622"),
    ("barn", "n02793495"),
    ("bikini", "n02837789"),
    ("digital clock", "n03196217"),
    ("dragonfly", "n02268443"),
    ("dumbbell", "n03255030"),
    ("forklift", "n03384352"),
    ("goblet", "n03443371"),
    ("grand piano", "n03452741"),
    ("hotdog", "n07697537"),
    ("hourglass", "n03544143"),
    ("manhole cover", "n03717622"),
    ("mosque", "n03788195"),
    ("nail", "n03804744"),
    ("parking meter", "n03891332"),
    ("pillow", "n03938244"),
    ("revolver", "n04086273"),
    ("dial telephone", "n03187595"),
    ("schooner", "n04147183"),
    ("snowmobile", "n04252077"),
    ("soccer ball", "n04254680"),
    ("stingray", "n01498041"),
    ("strawberry", "n07745940"),
    ("tank", "n04389033"),
    ("toaster", "n04442312"),
    ("volcano", "n09472597"),
];

/// Classes of ImageNet (2012) one of whose names has that of a Pascal VOC class as a word or as the end of one.
#[rustfmt::skip]
pub const LIKE_PASCAL_VOC: [&str; 64] = [
    // bicycle; boat; bottle; bus
    "n02835271", "n03344393", "n03662601", "n03873416", "n04273569", "n04347754",
    "n02823428", "n03109150", "n03937543", "n03983396", "n04557648", "n04591713", "n03769881", "n04146614", "n04487081",
    // bird
    "n01534433", "n01537544", "n01833805", "n02165456",
    // car
    "n02814533", "n02965783", "n02974003", "n03393912", "n03895866", "n04037443", "n04285008", "n04335435", "n04461696",
    // cat
    "n02123045", "n02123159", "n02123394", "n02123597", "n02124075", "n02443114", "n02445715", "n02497673", "n02509815",
    // chair; dining table
    "n02791124", "n03376595", "n04099969", "n03201208",
    // dog
    "n02085936", "n02097474", "n02105641", "n02105855", "n02106662", "n02107574", "n02107683", "n02108915", "n02109961",
    "n02110341", "n02110627", "n02110958", "n02111277", "n02116738", "n03218198", "n07697537",
    // horse; sheep; train; television and monitor
    "n02398521", "n03538406", "n12768682", "n02415577", "n02917067", "n03782006", "n04404412",
];

/// Whether a folder's name is a WordNet id: `n` and eight digits.
pub fn is_id(name: &str) -> bool {
    name.strip_prefix('n').is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_ids_and_stand_once() {
        let thirty: HashSet<&str> = IMAGENET_30.iter().map(|(_, id)| *id).collect();
        let voc: HashSet<&str> = LIKE_PASCAL_VOC.into_iter().collect();
        assert_eq!((thirty.len(), voc.len()), (IMAGENET_30.len(), LIKE_PASCAL_VOC.len()));
        assert!(thirty.iter().chain(&voc).all(|id| is_id(id)));
        assert!(!is_id("n0226844") && !is_id("n02268443x") && !is_id("02268443n"));
    }
}
