# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The words that :mod:`verl_mapo.rewards.quantities` knows: units of measurement, and classes of other words."""

ALIASES = {
    "mm": "millimeter millimeters millimetre millimetres 毫米 мм",
    "cm": "centimeter centimeters centimetre centimetres 厘米 公分 см",
    "m": "meter meters metre metres 米 м",
    "km": "kilometer kilometers kilometre kilometres 公里 千米 км",
    "inch": 'inches "',
    "foot": "feet ft '",
    "mile": "miles mi",
    "mg": "milligram milligrams 毫克",
    "g": "gram grams 克 г",
    "kg": "kilogram kilograms kgs 公斤 千克 кг",
    "pound": "lb lbs pounds £ gbp",
    "ml": "milliliter milliliters millilitre millilitres 毫升",
    "l": "liter liters litre litres 升",
    "s": "sec secs second seconds 秒",
    "min": "mins minute minutes 分钟",
    "h": "hr hrs hour hours 小时",
    "day": "days 天",
    "year": "years yr yrs 年",
    "°": "degree degrees deg 度",
    "rad": "radian radians 弧度",
    "°c": "celsius ℃ 摄氏度",
    "°f": "fahrenheit",
    "dollar": "dollars usd bucks us$ $ 美元",
    "euro": "euros eur € 欧元",
    "yen": "¥ jpy 円",
    "yuan": "rmb cny 元 块 人民币",
    "rupee": "rupees rs inr ₹",
    "cm^2": "平方厘米",
    "m^2": "平方米",
    "cm^3": "立方厘米",
    "m^3": "立方米",
}
UNIT_OF = {name: unit for unit, names in ALIASES.items() for name in (unit, *names.split())}
"""The one spelling of each unit that has several."""

UNITS = {*UNIT_OF} | {
    *(
        '% " ₽ ₩ n j w b v a c f k t ω μm µm nm dm ha ms ns hz khz mhz ghz kw mw kwh mv kv ma kj pa kpa kn kb mb gb '
        "tb bit byte px pixel mol cal kcal mph kph kmh rpm fps dpi ppi ppm db lux ton tonne oz ounce gal gallon "
        "yd yard knot cup tbsp tsp week month acre bar atm psi cc unit point pt cent pence kelvin ohm volt "
        "watt newton joule"
    ).split()
}
"""Every spelling of a unit, in lower case."""

CLASSES = {
    # denies, doubts or offers an alternative
    "D": "not no never nothing nobody neither nor cannot without except excluding but unlike far opposite false "
    "falsely wrong wrongly incorrect incorrectly untrue mistake mistaken mistakes error errors invalid "
    "impossible inaccurate unlikely doubt doubtful deny denies disagree reject rejects refute refutes refuse "
    "refuses exclude excludes avoid avoids "
    "dismiss dismisses discard discards approach approaches approaching something odd "
    "unsure uncertain unclear unknown maybe "
    "perhaps possibly might could may guess guessing or either versus vs than between up upto under over above "
    "below beyond exceed exceeds exceeding upward upwards onward onwards downward downwards tops too if unless "
    "actually wait also ish mindestens höchstens short shy many 不 非 没 沒 無 无 未 否 错 錯 误 誤 假 或 几 幾 "
    "除 至少 至多 最多 最少 最大 最小 超 多于 少于 大于 小于 高于 低于 ない ませ 없 않 이상 이하 미만 초과 o ou "
    "oder oppure или menos moins meno 以上 以下 以内 以內 以外 还是 還是 之间 之間 上下",
    # compares; harmless in a subject, as in `the maximum is`
    "K": "more less fewer greater larger smaller higher lower most least max maximum maximal minimum minimal another "
    "extra additional range ranges bound limit other others best worst",
    # calculates
    "M": "plus minus multiplied divided half halves double triple twice thrice quarter quarters third thirds square "
    "squared cube cubed root power mod modulo factorial sqrt log ln sin cos tan exp pi fold score scores tens "
    "one ones twos threes fours fives sixes sevens eights nines 半 倍 多 根号",
    # joins a subject and its number
    "V": "is was be it's that's there's there're equals equal has have had show shows read reads say says "
    "display displays contain contains total totals measure measures weigh weighs cost costs count counts counted see "
    "sees saw found find give gives make makes get gets got comes amounts become becomes remain remains hold holds "
    "yield yields produce produces simplifies evaluates returns obtain obtains "
    ""
    "include includes think need needs wear wears reaches indicates hay est es ist sind son sono gibt há 有 是 "
    "为 為 共 计 計 得 第 到 等于 等於 総 총 は 은 는",
    # the same in the plural, also behind a noun
    "E": "are were",
    # approximation
    "A": "about around approximately approx roughly nearly almost circa exactly precisely only just probably likely "
    "now still ~ 大概 大约 大約 约 約 约为 近 左右",
    # label
    "L": "number nr year in room page gate bus platform figure line floor question player exit track lane option "
    "jersey stop seat channel chapter flight apartment level route total so thus hence therefore overall answer "
    "result sum value amount",
    # tail of a measure
    "T": "long wide tall high deep thick old am pm o'clock away apart altogether left remaining",
    # place, or label of a year
    "I": "in",
    # place
    "P": "on at of from with by near behind beside inside outside along across for that who which visible shown seen "
    "present parked sitting standing waiting walking can next",
    # confirms
    "R": "correct right final true",
    # joins
    "&": "and 和 与 與 及",
    # determiner
    "d": "yes the a an to that this these those them my our his her its their all",
    # fits a sentence, no noun
    "v": "as always does lots",
    # counter
    "C": "个 個 只 隻 人 名 位 头 頭 匹 条 條 张 張 本 辆 輛 台 架 棵 朵 件 把 支 枝 根 间 間 座 栋 棟 楼 层 層 页 "
    "頁 号 號 岁 歲 次 种 種 双 雙 对 對 片 杯 瓶 碗 盘 盒 袋 点 點 月 日 时 時 分 枚 冊 歳 つ 개 명 마리 대 권 "
    "살 번",
}
"""Words by the letter of their class in the grammar of a quantity."""

CLASS_OF = {word: kind for kind, words in CLASSES.items() for word in words.split()}
"""The class of a word."""
