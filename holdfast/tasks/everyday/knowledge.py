"""Questions of general knowledge that stay right: `question? answer`, one a line; several accepted answers are parted by a slash."""

FACTS = """
What is the chemical symbol of gold? Au
What is the chemical symbol of silver? Ag
What is the chemical symbol of iron? Fe
What is the chemical symbol of sodium? Na
What is the chemical symbol of potassium? K
What is the chemical symbol of lead? Pb
What is the chemical symbol of copper? Cu
What is the chemical symbol of tin? Sn
What is the chemical symbol of oxygen? O
What is the chemical symbol of carbon? C
What is the chemical symbol of helium? He
What is the chemical symbol of calcium? Ca
What is the chemical symbol of mercury? Hg
What is the chemical symbol of zinc? Zn
What is the chemical symbol of neon? Ne
Which gas do plants take in from the air for photosynthesis? carbon dioxide / CO2
Which gas makes up most of the air? nitrogen / N2
Which metal is liquid at room temperature? mercury
Which is the lightest chemical element? hydrogen
What do two hydrogen atoms and one oxygen atom make? water / H2O / a water molecule
What is frozen water called? ice
At how many degrees Celsius does water boil at sea level? 100 / 100 degrees / one hundred
At how many degrees Celsius does water freeze? 0 / zero / 0 degrees
Which planet is closest to the sun? Mercury
Which planet is the largest in the solar system? Jupiter
Which planet is famous for its large rings? Saturn
Which planet is called the red planet? Mars
Which planet do we live on? Earth / the Earth
Which planet is the farthest from the sun? Neptune
How many planets are there in the solar system? 8 / eight
Which star is closest to the Earth? the Sun / sun
Which galaxy do we live in? the Milky Way / Milky Way galaxy
How many legs does a spider have? 8 / eight / eight legs / 8 legs
How many legs does an insect have? 6 / six / six legs / 6 legs
How many arms does an octopus have? 8 / eight / eight arms / 8 arms
How many strings does a violin have? 4 / four / four strings / 4 strings
How many players of one team are on the field in football (soccer)? 11 / eleven / eleven players / 11 players
How many days are there in a leap year? 366 / 366 days
How many months have 31 days? 7 / seven / seven months
How many minutes are there in an hour? 60 / sixty / 60 minutes
How many hours are there in a day? 24 / twenty-four / 24 hours
How many sides does a hexagon have? 6 / six / six sides / 6 sides
How many sides does an octagon have? 8 / eight / eight sides / 8 sides
How many sides does a triangle have? 3 / three / three sides / 3 sides
How many degrees are there in a right angle? 90 / ninety / 90 degrees
How many letters are there in the English alphabet? 26 / twenty-six / 26 letters
How many millimetres are there in a centimetre? 10 / ten / 10 millimetres
How many years are there in a century? 100 / one hundred / a hundred / 100 years
How many continents are there, by the usual count in English? 7 / seven / seven continents
How many teeth does an adult human usually have? 32 / thirty-two / 32 teeth
How many chambers does a human heart have? 4 / four / four chambers / 4 chambers
What is the square root of 81? 9 / nine
What is the square root of 144? 12 / twelve
What is a baby cat called? kitten
What is a baby dog called? puppy / pup
What is a baby cow called? calf
What is a baby horse called? foal
What is a baby sheep called? lamb
What is a baby frog called? tadpole
What is a baby swan called? cygnet
What is a baby kangaroo called? joey
What is a baby goat called? kid
What is a baby bear called? cub
What is a baby duck called? duckling
What is a female horse called? mare
What is a male deer called? stag / buck
What is a female lion called? lioness
What is a group of wolves called? pack
What is a group of sheep called? flock
What is the largest animal on Earth? the blue whale / blue whale
What is the tallest animal in the world? the giraffe / giraffe
What is the fastest land animal? the cheetah / cheetah
Which bird is the largest in the world? the ostrich / ostrich
Which animal is known as man's best friend? the dog / dog / dogs
Which insect makes honey? the bee / bee / bees / honeybee / honey bee / the honey bee / honeybees / honey bees
Which large animal has a trunk? the elephant / elephant / elephants
What does a caterpillar turn into? butterfly / a butterfly or moth / butterfly or moth / moth
Which organ pumps blood through the body? the heart / heart
Which organ do we think with? the brain / brain
Which is the largest organ of the human body? the skin / skin
Which is the longest bone of the human body? the femur / femur / thigh bone / thighbone
Which vitamin does the skin make in sunlight? vitamin D / D
Which sea lies between Europe and Africa? the Mediterranean / Mediterranean Sea / Mediterranean
Which is the largest ocean? the Pacific Ocean / Pacific / the Pacific
Which ocean lies between Europe and North America? the Atlantic Ocean / Atlantic / the Atlantic
Which is the highest mountain in the world? Mount Everest / Everest / Mt. Everest / Mt Everest
Which is the largest country by area? Russia
Which is the smallest country in the world? Vatican City / the Vatican / Vatican
Which is the largest continent? Asia
Which is the coldest continent? Antarctica
On which continent is Egypt? Africa
On which continent is Brazil? South America
On which continent is Japan? Asia
On which continent is Canada? North America
On which continent is Poland? Europe
On which continent is Kenya? Africa
On which continent is Argentina? South America
On which continent is India? Asia
Through which city does the Thames flow? London
Through which city does the Seine flow? Paris
In which city is the Eiffel Tower? Paris
In which city is the Colosseum? Rome
In which city is the Statue of Liberty? New York / New York City
In which city is the Brandenburg Gate? Berlin
In which country are the pyramids of Giza? Egypt
In which country is the Taj Mahal? India
In which country is Machu Picchu? Peru
In which country is the Great Wall? China
In which country is the city of Barcelona? Spain
In which country is the city of Munich? Germany
In which country is the city of Milan? Italy
In which country is the city of Toronto? Canada
In which country is the city of Istanbul? Turkey / Türkiye
In which country is the city of Mumbai? India
What is the currency of Japan? yen / the yen / Japanese yen
What is the currency of India? rupee / the rupee / Indian rupee / the Indian rupee
What is the currency of Russia? rouble / ruble / Russian ruble / the ruble / Russian rouble / the Russian ruble
What is the currency of Switzerland? Swiss franc / franc / the Swiss franc / francs
What is the currency of Germany? euro / the euro / euros
What is the currency of Mexico? peso / Mexican peso / the peso / the Mexican peso
What is the currency of Poland? zloty / złoty / Polish zloty / the zloty / the Polish zloty
What is the currency of Sweden? krona / Swedish krona / the krona / kronor / the Swedish krona
What is the currency of the United Kingdom? pound sterling / pound / the pound / British pound / sterling / pounds / the pound sterling
What is the currency of South Korea? won / South Korean won / the won / Korean won
Which language is spoken in Brazil? Portuguese
Which language is spoken in Austria? German
Which language is spoken in Mexico? Spanish
Which language is spoken in Egypt? Arabic
Who wrote Romeo and Juliet? William Shakespeare / Shakespeare
Who wrote Oliver Twist? Charles Dickens / Dickens
Who wrote Pride and Prejudice? Jane Austen / Austen
Who wrote War and Peace? Leo Tolstoy / Tolstoy
Who wrote Don Quixote? Miguel de Cervantes / Cervantes
Who wrote The Hobbit? J. R. R. Tolkien / Tolkien / JRR Tolkien
Who wrote Animal Farm? George Orwell / Orwell
Who wrote Frankenstein? Mary Shelley / Shelley / Mary Wollstonecraft Shelley
Who wrote The Old Man and the Sea? Ernest Hemingway / Hemingway
Who wrote the Odyssey? Homer
Who painted the Mona Lisa? Leonardo da Vinci / Leonardo / da Vinci
Who painted The Starry Night? Vincent van Gogh / van Gogh / Vincent Van Gogh
Who painted Guernica? Pablo Picasso / Picasso
Who composed the Moonlight Sonata? Ludwig van Beethoven / Beethoven
Who composed The Magic Flute? Wolfgang Amadeus Mozart / Mozart
Who developed the theory of relativity? Albert Einstein / Einstein
Who wrote On the Origin of Species? Charles Darwin / Darwin
Who discovered penicillin? Alexander Fleming / Fleming / Sir Alexander Fleming
Who was the first person to walk on the moon? Neil Armstrong / Armstrong
Who was the first president of the United States? George Washington / Washington
In which year did the Second World War end? 1945
In which year did the First World War begin? 1914
In which year did the Berlin Wall fall? 1989
In which year did people first land on the moon? 1969
In which year did the Titanic sink? 1912
Which day comes after Friday? Saturday
Which day comes before Tuesday? Monday
Which day comes after Wednesday? Thursday
Which month comes after March? April
Which month comes before October? September
Which month is the shortest of the year? February
Which season comes after winter? spring
Which colour do you get by mixing blue and yellow paint? green
Which colour do you get by mixing red and white paint? pink
Which colour do you get by mixing red and yellow paint? orange
Which fruit is dried to make raisins? grape / grapes / the grape
From which grain is most white bread made? wheat
What is the main ingredient of omelettes? egg / eggs
Which instrument has 88 keys? the piano / piano
With which sport is Wimbledon associated? tennis / lawn tennis
In which sport is a puck used? ice hockey / hockey
What do we call a person who flies an aeroplane? pilot / aviator
What do we call a person who bakes bread? baker
What do we call a doctor for teeth? dentist
What do we call a scientist who studies the stars? astronomer
With which instrument do we measure temperature? thermometer
What do we call a shape with four equal sides and four right angles? square
What is the opposite direction of north? south
In which direction does the sun set? west / the west / in the west
In which direction does the sun rise? east / the east / in the east
"""
