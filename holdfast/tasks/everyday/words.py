"""English words and their forms, `word: form`, parted by semicolons; several accepted forms are parted by a slash."""

PLURALS = """
man: men; woman: women; child: children; foot: feet; tooth: teeth; goose: geese; mouse: mice; louse: lice; ox: oxen;
person: people / persons; policeman: policemen; snowman: snowmen; gentleman: gentlemen; grandchild: grandchildren;
knife: knives; wife: wives; life: lives; leaf: leaves; loaf: loaves; thief: thieves; wolf: wolves; shelf: shelves;
half: halves; calf: calves; elf: elves; scarf: scarves / scarfs; hoof: hooves / hoofs; roof: roofs; chief: chiefs;
belief: beliefs; cliff: cliffs; giraffe: giraffes; safe: safes; proof: proofs; reef: reefs; bookshelf: bookshelves;
housewife: housewives; city: cities; baby: babies; lady: ladies; story: stories; party: parties; country: countries;
family: families; berry: berries; puppy: puppies; pony: ponies; army: armies; body: bodies; diary: diaries;
library: libraries; factory: factories; enemy: enemies; butterfly: butterflies; spy: spies; university: universities;
boy: boys; key: keys; monkey: monkeys; donkey: donkeys; valley: valleys; journey: journeys; tray: trays;
chimney: chimneys; box: boxes; fox: foxes; bus: buses / busses; glass: glasses; church: churches; watch: watches;
dish: dishes; brush: brushes; match: matches; bench: benches; beach: beaches; dress: dresses; boss: bosses; tax: taxes;
sandwich: sandwiches; address: addresses; princess: princesses; witch: witches; stomach: stomachs; monarch: monarchs;
quiz: quizzes; gas: gases / gasses; virus: viruses; lens: lenses; potato: potatoes; tomato: tomatoes; hero: heroes;
echo: echoes; piano: pianos; photo: photos; radio: radios; zoo: zoos; video: videos; volcano: volcanoes / volcanos;
mosquito: mosquitoes / mosquitos; mango: mangoes / mangos; buffalo: buffaloes / buffalos / buffalo; veto: vetoes;
torpedo: torpedoes / torpedos; kangaroo: kangaroos; studio: studios; sheep: sheep; deer: deer; fish: fish / fishes;
series: series; species: species; aircraft: aircraft; salmon: salmon / salmons; moose: moose; spacecraft: spacecraft;
cactus: cacti / cactuses; fungus: fungi / funguses; nucleus: nuclei / nucleuses; radius: radii / radiuses;
stimulus: stimuli; alumnus: alumni; syllabus: syllabi / syllabuses; analysis: analyses; crisis: crises; thesis: theses;
oasis: oases; basis: bases; hypothesis: hypotheses; diagnosis: diagnoses; parenthesis: parentheses; axis: axes;
phenomenon: phenomena / phenomenons; criterion: criteria / criterions; bacterium: bacteria;
curriculum: curricula / curriculums; appendix: appendices / appendixes; index: indices / indexes;
matrix: matrices / matrixes; vertex: vertices / vertexes; larva: larvae / larvas; formula: formulas / formulae;
antenna: antennae / antennas; mother-in-law: mothers-in-law; passer-by: passers-by; dwarf: dwarves / dwarfs;
handkerchief: handkerchiefs / handkerchieves; wharf: wharves / wharfs; cello: cellos / celli; ellipsis: ellipses;
synopsis: synopses; emphasis: emphases; nebula: nebulae / nebulas; vertebra: vertebrae / vertebras; alga: algae;
stratum: strata / stratums; memorandum: memoranda / memorandums; focus: focuses / foci; octopus: octopuses / octopi;
platypus: platypuses; walrus: walruses; human: humans; German: Germans; hoax: hoaxes; waltz: waltzes; arch: arches;
"""

ANTONYMS = """
hot: cold / cool / freezing / chilly; big: small / little / tiny; tall: short / small; fast: slow / sluggish;
happy: sad / unhappy / miserable; old: young / new; rich: poor; strong: weak / feeble; light: dark / heavy;
hard: soft / easy; loud: quiet / silent / soft; clean: dirty / unclean / filthy; full: empty; open: closed / shut / close;
early: late; long: short / brief; wide: narrow / thin; thick: thin / slim; deep: shallow; high: low; sharp: blunt / dull;
smooth: rough / bumpy / coarse; wet: dry; true: false / untrue; right: wrong / left / incorrect; good: bad / evil / poor;
brave: cowardly / afraid / fearful / timid / scared; polite: rude / impolite; safe: dangerous / unsafe; cheap: expensive / costly / dear;
generous: stingy / mean / selfish / greedy / miserly; honest: dishonest / lying / deceitful;
patient: impatient; guilty: innocent; alive: dead; awake: asleep / sleeping; present: absent / past;
ancient: modern / new / recent; simple: complex / complicated / difficult; public: private; major: minor;
maximum: minimum; positive: negative; inside: outside; above: below / under / beneath; before: after;
front: back / rear; top: bottom; up: down; north: south; east: west; day: night; summer: winter;
morning: evening / night; love: hate / hatred; friend: enemy / foe; war: peace; victory: defeat / loss;
success: failure; question: answer; profit: loss; arrival: departure; entrance: exit; beginning: end / ending / conclusion;
birth: death; heaven: hell; king: queen; husband: wife; ceiling: floor; buyer: seller; teacher: student / pupil / learner;
buy: sell; give: take / receive; win: lose; remember: forget; laugh: cry / weep; begin: end / finish / stop; push: pull;
build: destroy / demolish; accept: reject / refuse / decline; increase: decrease / reduce; expand: contract / shrink; ascend: descend;
arrive: leave / depart; attack: defend; borrow: lend; import: export; include: exclude; hide: show / reveal / seek;
raise: lower; rise: fall / sink / set; sink: float / rise / swim; melt: freeze; praise: criticize / blame / criticise; create: destroy;
connect: disconnect / separate; appear: disappear / vanish; agree: disagree; succeed: fail; admit: deny; allow: forbid / prohibit / ban;
throw: catch; always: never; everybody: nobody; everything: nothing; more: less / fewer;
many: few; often: rarely / seldom; with: without; on: off; in: out; first: last; same: different;
possible: impossible; legal: illegal; visible: invisible; regular: irregular; perfect: imperfect / flawed; usual: unusual;
fair: unfair / unjust; lucky: unlucky; careful: careless; useful: useless; hopeful: hopeless; kind: unkind / cruel / mean;
mature: immature; responsible: irresponsible; certain: uncertain / doubtful; comfortable: uncomfortable; famous: unknown / obscure;
natural: artificial / unnatural; permanent: temporary; flexible: rigid / inflexible / stiff; male: female; vertical: horizontal;
transparent: opaque; tight: loose; optimistic: pessimistic; introvert: extrovert; lazy: hardworking / diligent / industrious / active;
bitter: sweet; fresh: stale / rotten; raw: cooked; humble: proud / arrogant; calm: nervous / agitated / anxious / stormy;
odd: even; vacant: occupied / full; plural: singular; sunrise: sunset; junior: senior; bright: dark / dim / dull;
"""

PAST_TENSES = """
become: became; begin: began; bend: bent; bite: bit; bleed: bled; blow: blew; break: broke; bring: brought;
build: built; burn: burned / burnt; buy: bought; catch: caught; choose: chose; come: came; cost: cost; creep: crept; cut: cut;
deal: dealt; dig: dug; do: did; draw: drew; dream: dreamed / dreamt; drink: drank; drive: drove; eat: ate; fall: fell;
feed: fed; feel: felt; fight: fought; find: found; flee: fled; fly: flew; forbid: forbade / forbad; forget: forgot;
forgive: forgave; freeze: froze; get: got; give: gave; go: went; grow: grew; hang: hung / hanged; have: had; hear: heard;
hide: hid; hit: hit; hold: held; hurt: hurt; keep: kept; kneel: knelt / kneeled; know: knew; lay: laid; lead: led;
leap: leaped / leapt; learn: learned / learnt; leave: left; lend: lent; let: let; lie: lay / lied; lose: lost; make: made;
mean: meant; meet: met; pay: paid; put: put; read: read; ride: rode; ring: rang; rise: rose; run: ran; say: said; see: saw;
seek: sought; sell: sold; send: sent; set: set; shake: shook; shine: shone / shined; shoot: shot; shrink: shrank / shrunk;
shut: shut; sing: sang; sink: sank / sunk; sit: sat; sleep: slept; slide: slid; speak: spoke; spend: spent;
spin: spun; split: split; spread: spread; spring: sprang / sprung; stand: stood; steal: stole; stick: stuck; sting: stung;
strike: struck; swear: swore; sweep: swept; swim: swam; swing: swung; take: took; teach: taught; tear: tore; tell: told;
think: thought; throw: threw; understand: understood; wake: woke / waked; wear: wore; weep: wept; win: won; wind: wound / winded;
write: wrote; withdraw: withdrew; overcome: overcame; undergo: underwent; mistake: mistook; cling: clung; grind: ground;
bind: bound; breed: bred; weave: wove / weaved; tread: trod; stop: stopped; plan: planned; carry: carried; cry: cried; study: studied;
play: played; enjoy: enjoyed; admit: admitted; prefer: preferred; travel: traveled / travelled; hope: hoped; hop: hopped;
try: tried; marry: married; dance: danced; refer: referred; drop: dropped; visit: visited; open: opened; stay: stayed; panic: panicked;
agree: agreed; die: died; tie: tied; occur: occurred; echo: echoed; argue: argued; apply: applied; destroy: destroyed; clap: clapped;
"""
