//! Words by language, the most frequent ones first.

use std::sync::LazyLock;

/// One language.
#[derive(Debug)]
pub(crate) struct Language {
    /// The code that posts use.
    pub(crate) code: &'static str,
    /// The separator between words.
    pub(crate) space: &'static str,
    /// The end of a sentence.
    pub(crate) stop: &'static str,
    pub(crate) words: Vec<&'static str>,
}

impl Language {
    fn new([code, space, stop]: [&'static str; 3], words: &'static str) -> Self {
        Self {
            code,
            space,
            stop,
            words: words.split_whitespace().collect(),
        }
    }
}

pub(crate) static LANGUAGES: LazyLock<[Language; 8]> = LazyLock::new(|| {
    [
        Language::new(
            ["en", " ", "."],
            "the a to and of in is it for this that on my with just so have not all new today good \
                people time like day about now really morning coffee garden river music book photo train \
                city weather storm light paper window winter market kitchen story question answer science \
                harbor bridge lantern mountain football election painting recipe telescope library whale \
                orchard thunder parade museum keyboard marathon volcano sourdough",
        ),
        Language::new(
            ["ja", "", "。"],
            "の は が に を で と も 今日 いい ない する ある 朝 夜 雨 空 海 山 猫 犬 本 音楽 写真 電車 天気 仕事 時間 お茶 ご飯 友達 映画 漫画 新しい 楽しい \
                眠い 綺麗 絵 花 駅 祭り 台風 試合 図書館 コーヒー ゲーム ラーメン カメラ ニュース おはよう",
        ),
        Language::new(
            ["pt", " ", "."],
            "de que o a e não um uma para com hoje muito dia gente bom agora mais café música chuva \
                cidade praia livro futebol manhã noite coração história notícia trabalho caminho jardim \
                amanhã janela montanha eleição receita feijão trovão ponte",
        ),
        Language::new(
            ["de", " ", "."],
            "die der und das ist nicht ein ich mit auf heute schön auch noch Morgen Kaffee Garten \
                Wetter Straße Musik Buch Zug Stadt Regen Fenster Brücke Küche Frage Antwort Wissenschaft \
                Hafen Berg Rezept Bücherei Gewitter Fußball Wahl Gemälde Fernrohr Frühling",
        ),
        Language::new(
            ["es", " ", "."],
            "de la que el en y no un una con hoy muy día gente bueno ahora más café música lluvia \
                ciudad playa libro fútbol mañana noche corazón historia noticia trabajo camino jardín \
                ventana montaña elección receta puente tormenta niño luz",
        ),
        Language::new(
            ["fr", " ", "."],
            "de la le et les un une est pas pour aujourd'hui très jour gens bon encore plus café \
                musique pluie ville plage livre matin soir cœur histoire travail chemin jardin fenêtre \
                montagne élection recette pont orage forêt lumière bibliothèque été",
        ),
        Language::new(
            ["ko", " ", "."],
            "오늘 정말 나는 이 그 좋은 아침 밤 비 하늘 바다 산 고양이 책 음악 사진 기차 날씨 시간 커피 친구 영화 새로운 도시 축구 꽃 눈 이야기 질문 도서관",
        ),
        Language::new(
            ["tr", " ", "."],
            "bir ve bu için çok bugün güzel gün şimdi daha sabah kahve bahçe müzik kitap şehir yağmur \
                deniz dağ köprü hikâye soru cevap bilim pencere fırtına Işık İstasyon ülke çiçek",
        ),
    ]
});
