//! What the authors' code scales inputs by, whose source has these numbers, class by class: neither a snapshot nor its `config.txt` has
//! them. Those that were computed of the data (`custom`) are computed again.

use crate::data::pipeline::{PipelineKind, Transform};
use crate::datasets::DatasetKind;
use crate::datasets::cifar10::CIFAR10;
use crate::datasets::fmnist::FMNIST;
use crate::datasets::mvtec::MVTEC;

/// Of a class, by channel: the smallest and the largest value after contrast normalisation, mean and standard deviation before.
struct Constants<const C: usize> {
    min: [f32; C],
    max: [f32; C],
    mean: [f32; C],
    std: [f32; C],
}

impl<const C: usize> Constants<C> {
    fn scaling(&self, kind: PipelineKind) -> Transform {
        match kind.normalises_contrast() {
            true => Transform::MinMax { min: self.min.to_vec(), max: self.max.to_vec() },
            false => Transform::MeanStd { mean: self.mean.to_vec(), std: self.std.to_vec() },
        }
    }
}

/// The last transform of a class's inputs; None where their source does not have it.
pub(super) fn scaling(dataset: DatasetKind, class: usize, kind: PipelineKind) -> Option<Transform> {
    if dataset == FMNIST {
        OF_FMNIST.get(class).map(|constants| constants.scaling(kind))
    } else if dataset == CIFAR10 {
        OF_CIFAR10.get(class).map(|constants| constants.scaling(kind))
    } else if dataset == MVTEC {
        OF_MVTEC.get(class).map(|(_, constants)| constants.scaling(kind))
    } else {
        None
    }
}

/// What a class is called here: of MVTec-AD by its name, since a folder may hold some products alone.
pub(super) fn class(dataset: DatasetKind, class: usize) -> String {
    let product = OF_MVTEC.get(class).filter(|_| dataset == MVTEC);
    product.map_or_else(|| class.to_string(), |(name, _)| name.to_string())
}

/// Of Fashion-MNIST's classes.
const OF_FMNIST: [Constants<1>; 10] = [
    Constants { min: [-2.6812391], max: [24.85431], mean: [0.3256056], std: [0.35073918] },
    Constants { min: [-2.5778584], max: [11.169796], mean: [0.22290456], std: [0.34353048] },
    Constants { min: [-2.8081715], max: [19.133549], mean: [0.37669984], std: [0.3586803] },
    Constants { min: [-1.9533653], max: [18.65673], mean: [0.25889596], std: [0.35421965] },
    Constants { min: [-2.6103857], max: [19.166685], mean: [0.38532323], std: [0.3763119] },
    Constants { min: [-1.2358522], max: [28.463093], mean: [0.13673495], std: [0.26310813] },
    Constants { min: [-3.251606], max: [24.196823], mean: [0.33178368], std: [0.33927867] },
    Constants { min: [-1.081444], max: [16.878813], mean: [0.16769391], std: [0.2947866] },
    Constants { min: [-3.6560965], max: [11.350284], mean: [0.353555], std: [0.3652712] },
    Constants { min: [-1.3859291], max: [11.42665], mean: [0.30119452], std: [0.37053293] },
];

/// Of CIFAR-10's classes: extremes of all channels together.
const OF_CIFAR10: [Constants<3>; 10] = [
    Constants {
        min: [-28.940834, -28.940834, -28.940834],
        max: [13.802961, 13.802961, 13.802961],
        mean: [0.5256517, 0.5603282, 0.5888724],
        std: [0.2502202, 0.24083486, 0.2659735],
    },
    Constants {
        min: [-6.6817703, -6.6817703, -6.6817703],
        max: [9.158068, 9.158068, 9.158068],
        mean: [0.47113228, 0.4544623, 0.44712123],
        std: [0.26806358, 0.26582742, 0.27494594],
    },
    Constants {
        min: [-34.924465, -34.924465, -34.924465],
        max: [14.419298, 14.419298, 14.419298],
        mean: [0.48923907, 0.49146366, 0.4239047],
        std: [0.2270548, 0.2209446, 0.24337928],
    },
    Constants {
        min: [-10.599173, -10.599173, -10.599173],
        max: [11.093188, 11.093188, 11.093188],
        mean: [0.4954785, 0.45636114, 0.41540697],
        std: [0.25684315, 0.25227082, 0.25799376],
    },
    Constants {
        min: [-11.945023, -11.945023, -11.945023],
        max: [10.628045, 10.628045, 10.628045],
        mean: [0.47155336, 0.46515223, 0.37797248],
        std: [0.21732737, 0.20652702, 0.21182336],
    },
    Constants {
        min: [-9.69197, -9.69197, -9.69197],
        max: [8.948327, 8.948327, 8.948327],
        mean: [0.49992093, 0.46460566, 0.41642863],
        std: [0.25042534, 0.24374878, 0.24894638],
    },
    Constants {
        min: [-9.17494, -9.17494, -9.17494],
        max: [13.847014, 13.847014, 13.847014],
        mean: [0.4700183, 0.43829215, 0.34500396],
        std: [0.22888342, 0.21856172, 0.22041996],
    },
    Constants {
        min: [-6.876682, -6.876682, -6.876682],
        max: [12.2823715, 12.2823715, 12.2823715],
        mean: [0.5019532, 0.47983652, 0.41671392],
        std: [0.24304901, 0.24397305, 0.25171563],
    },
    Constants {
        min: [-15.603507, -15.603507, -15.603507],
        max: [15.246492, 15.246492, 15.246492],
        mean: [0.49021432, 0.5253948, 0.5546804],
        std: [0.24962473, 0.24068885, 0.25149763],
    },
    Constants {
        min: [-6.132883, -6.132883, -6.132883],
        max: [8.046098, 8.046098, 8.046098],
        mean: [0.49864176, 0.48529655, 0.4780092],
        std: [0.26805255, 0.269108, 0.28101656],
    },
];

/// Of MVTec-AD's products.
const OF_MVTEC: [(&str, Constants<3>); 15] = [
    (
        "bottle",
        Constants {
            min: [-1.3336724, -1.3107914, -1.2445922],
            max: [1.3779616, 1.3779616, 1.3779616],
            mean: [0.5345313, 0.5307119, 0.54911304],
            std: [0.36676005, 0.36667287, 0.3499178],
        },
    ),
    (
        "cable",
        Constants {
            min: [-2.240482, -2.338758, -2.2896202],
            max: [4.5734353, 4.5734353, 4.5734353],
            mean: [0.32683504, 0.41494372, 0.46718255],
            std: [0.1532179, 0.21510766, 0.23905669],
        },
    ),
    (
        "capsule",
        Constants {
            min: [-3.184587, -3.1642013, -3.1392977],
            max: [1.6995097, 1.6011603, 1.5209172],
            mean: [0.69539225, 0.666395, 0.65330404],
            std: [0.23858437, 0.25912845, 0.260195],
        },
    ),
    (
        "carpet",
        Constants {
            min: [-3.0334954, -2.9582424, -2.7701097],
            max: [6.5031033, 5.8750987, 5.814228],
            mean: [0.36377236, 0.35087138, 0.35671544],
            std: [0.14506032, 0.1399453, 0.12766932],
        },
    ),
    (
        "grid",
        Constants {
            min: [-3.1007733, -3.1007733, -3.1007733],
            max: [4.2789254, 4.2789254, 4.2789254],
            mean: [0.448452, 0.448452, 0.448452],
            std: [0.16365972, 0.16365972, 0.16365972],
        },
    ),
    (
        "hazelnut",
        Constants {
            min: [-3.6565306, -3.5076928, -2.7635036],
            max: [18.96682, 21.6459, 26.40871],
            mean: [0.23905243, 0.17620409, 0.17206748],
            std: [0.16886468, 0.07597383, 0.04383211],
        },
    ),
    (
        "leather",
        Constants {
            min: [-1.5192602, -2.2068002, -2.3948357],
            max: [11.564697, 10.976535, 10.3786955],
            mean: [0.3919542, 0.2631214, 0.22006844],
            std: [0.060693923, 0.04061737, 0.030394543],
        },
    ),
    (
        "metal_nut",
        Constants {
            min: [-1.3207965, -1.288934, -1.1484165],
            max: [6.85491, 6.85491, 6.85491],
            mean: [0.21368788, 0.23478131, 0.24079132],
            std: [0.16025242, 0.18222477, 0.1533643],
        },
    ),
    (
        "pill",
        Constants {
            min: [-0.9883341, -0.98224616, -0.92888415],
            max: [2.290638, 2.4007883, 2.304407],
            mean: [0.30240726, 0.3029524, 0.32861486],
            std: [0.3040901, 0.30411986, 0.2865643],
        },
    ),
    (
        "screw",
        Constants {
            min: [-7.236185, -7.236185, -7.236185],
            max: [3.3777385, 3.3777385, 3.3777385],
            mean: [0.7099749, 0.7099749, 0.7099749],
            std: [0.13370623, 0.13370623, 0.13370623],
        },
    ),
    (
        "tile",
        Constants {
            min: [-3.2036617, -3.2210035, -3.3055143],
            max: [7.022547, 6.115569, 6.3109407],
            mean: [0.45678806, 0.47119573, 0.44826305],
            std: [0.12076706, 0.13341768, 0.12879984],
        },
    ),
    (
        "toothbrush",
        Constants {
            min: [-0.89156187, -0.8669204, -0.80020463],
            max: [4.425557, 4.6423, 4.305731],
            mean: [0.19987482, 0.18578395, 0.19361256],
            std: [0.22920562, 0.2150132, 0.1953651],
        },
    ),
    (
        "transistor",
        Constants {
            min: [-1.9086798, -2.0004451, -1.9292884],
            max: [5.463135, 5.463135, 5.463135],
            mean: [0.38699794, 0.27693442, 0.24219434],
            std: [0.20621346, 0.14321941, 0.116952285],
        },
    ),
    (
        "wood",
        Constants {
            min: [-2.9547365, -3.17537, -3.1438508],
            max: [5.305515, 4.5350065, 3.3618252],
            mean: [0.6718144, 0.47696376, 0.3505027],
            std: [0.08259468, 0.06751163, 0.04756828],
        },
    ),
    (
        "zipper",
        Constants {
            min: [-1.2906528, -1.2906528, -1.2906528],
            max: [2.5151157, 2.5151157, 2.5151157],
            mean: [0.401452, 0.401452, 0.401452],
            std: [0.32304847, 0.32304847, 0.32304847],
        },
    ),
];
