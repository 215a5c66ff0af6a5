"""What gives a language away at a glance: letters of its own, and its commonest words.

Hand-written lists for the languages that share a script. Must not know how the evidence is weighed.
"""

from __future__ import annotations

#: Letters that, among the languages of one script, point to one of them, and how many nats they are worth.
LETTERS: dict[str, dict[str, float]] = {
    "es": dict.fromkeys("ñ¿¡", 6.0) | dict.fromkeys("áíóú", 1.0),
    "fr": dict.fromkeys("çœëîûæ", 4.0) | dict.fromkeys("èêàâôùï", 1.0) | {"é": 1.0},
    "vi": dict.fromkeys("ăđơư", 8.0) | dict.fromkeys(map(chr, range(0x1EA0, 0x1EFA)), 8.0),
    "fi": dict.fromkeys("äö", 3.0),
    # Persian has four letters that Arabic lacks and its own kaf and yeh; old encodings put the Arabic ones
    # into Persian text, so those prove little.
    "fa": dict.fromkeys("پچژگ", 6.0) | dict.fromkeys("کی", 4.0) | {"\u200c": 4.0} | dict.fromkeys("۴۵۶", 2.0),
    "ar": {"ة": 5.0, "ى": 3.0, "إ": 3.0, "أ": 2.0, "ي": 1.5, "ك": 1.5, "ٌ": 2.0, "ٍ": 2.0, "ً": 0.5},
}

_WORDS: dict[str, str] = {
    "en": """
        the of and to in is that for it with as was on are by this be from at or an have not which has
        but they his you were their one all can more will there been who what when where why how does do
        did would could should about into than other its our your my we he she them these those some if
        out up so no any only most over between after before because while many much also may very such
        using make get find best without during against under through difference meaning year time
        people new first""",
    "es": """
        de la que el en y los del se las por un para con una su al lo como más pero sus le ya este sí
        porque esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante
        todos uno les ni contra otros ese eso ante ellos esto mí antes algunos qué unos yo otro otras
        otra él tanto esa estos mucho nada muchos cuál cómo dónde cuándo quién cuánto cuántos es son fue
        era ser está están han había puede hacer años según cada mejor el año mundo vida ciudad""",
    "fr": """
        de la le et les des en un du une que est pour qui dans par plus pas au sur ne se ce il sont avec
        cette ses aux ou mais son nous comme leur elle ont été être fait aussi sa deux même ces entre si
        tout peut sans après vous je tu ils elles on y dont où quand comment pourquoi quel quelle quels
        quelles combien très depuis chez vers était avait lors sous encore car donc alors moins bien
        leurs ainsi selon faire année années monde ville vie eau c'est qu'est l'eau""",
    "vi": """
        và của là có trong được cho các không một với người những để này khi đã từ đến về tại cũng ra
        như hay vào nhiều năm trên hơn làm sẽ phải còn bị thì sau nào gì ở đó đây nhưng hoặc vì nếu theo
        bằng rất sự việc thế ai tôi bạn chúng họ con anh em ông bà đâu sao mấy bao nhiêu toi la gi cua
        va khong nguoi""",
    "id": """
        yang dan di untuk dengan ini dari dalam pada tidak itu adalah ke akan oleh juga atau sebagai
        telah ada karena bisa mereka dapat kita saya lebih anda kami bahwa sudah saat tahun orang banyak
        seperti hanya masih para menjadi setelah antara serta namun tetapi jika hal secara agar apa
        siapa mana kapan mengapa bagaimana berapa kenapa cara apakah dia ia nya bagi atas sangat hari
        belum lain satu dua terhadap tentang sejak hingga sehingga beberapa seorang tersebut merupakan
        memiliki air kota""",
    "fi": """
        ja on ei että se oli hän en ovat joka mutta kun myös tai sen olla ole mitä niin kuin hänen vain
        jos voi sitä minä sinä me te he ne tämä tämän nyt jo siitä ollut mikä missä milloin miksi miten
        kuka kuinka mistä mihin monta paljon ennen jälkeen kanssa mukaan sekä vaan eli kaikki koko
        vuonna vuoden olivat kuten yli alle sitten vielä voidaan voivat hyvin aina muun muassa jotka
        jossa tätä niitä niiden joiden kuitenkin ihmiset vesi kaupunki""",
    "sw": """
        na ya wa kwa ni katika za la kuwa cha vya hii hiyo huo huu hizi hizo hao wao yake wake lake zake
        vyake kama pia sana au lakini hata baada kabla ili watu mtu mwaka miaka wakati kila zaidi moja
        mbili tatu nchi mji yao wetu yetu yangu wangu yako wako nini nani wapi lini gani vipi je kwanini
        jinsi ambayo ambao ambaye ambazo ambacho huku hivyo hiki hicho hapa hapo pale ndani nje juu
        chini bila mpaka hadi tangu kutoka kuhusu ana anaweza wana alikuwa walikuwa ilikuwa siku maji
        habari ndiyo hapana si""",
    "fa": """
        و در به از که این را با است برای آن یک خود تا کرد بر هم نیز گفت می شود شد ما اما یا شده باید هر
        آنها بود او دیگر چه چرا چگونه کجا کی چند کدام چیست کیست نیست هست من تو شما ایشان ها های ترین تر
        پس اگر همه هیچ بین سال روز کند کنند دارد دارند شهر""",
    "ar": """
        في من على إلى الى أن ان عن مع هذا هذه التي الذي الذين ما لا لم لن كان كانت قد كل بعد قبل بين ذلك
        تلك هو هي هم نحن أنا أنت ثم أو او حتى إذا اذا عند منذ غير كما لكن حيث وقد ولا وفي ومن وهو وهي هل
        ماذا لماذا كيف أين اين متى كم أي اي فيه فيها عليه عليها إن وكان عام يوم مدينة به بها له لها""",
}

#: The commonest words of each language, lower case.
WORDS: dict[str, frozenset[str]] = {code: frozenset(words.split()) for code, words in _WORDS.items()}
