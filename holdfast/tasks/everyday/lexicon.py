"""English nouns in French, German and Spanish, each with its article; other right words are parted by a slash."""

NOUNS = """
dog | le chien | der Hund | el perro
cat | le chat | die Katze | el gato
horse | le cheval | das Pferd | el caballo
cow | la vache | die Kuh | la vaca
pig | le cochon / le porc | das Schwein | el cerdo / el puerco / el chancho
sheep | le mouton | das Schaf | la oveja
bird | l'oiseau | der Vogel | el pájaro / el ave
fish | le poisson | der Fisch | el pez / el pescado
mouse | la souris | die Maus | el ratón
bear | l'ours | der Bär | el oso
wolf | le loup | der Wolf | el lobo
lion | le lion | der Löwe | el león
rabbit | le lapin | das Kaninchen | el conejo
snake | le serpent | die Schlange | la serpiente / la culebra
bee | l'abeille | die Biene | la abeja
house | la maison | das Haus | la casa
door | la porte | die Tür | la puerta
window | la fenêtre | das Fenster | la ventana
roof | le toit | das Dach | el techo / el tejado
wall | le mur | die Wand / die Mauer | la pared / el muro
kitchen | la cuisine | die Küche | la cocina
bed | le lit | das Bett | la cama
table | la table | der Tisch | la mesa
chair | la chaise | der Stuhl | la silla
lamp | la lampe | die Lampe | la lámpara
key | la clé / la clef | der Schlüssel | la llave
mirror | le miroir / la glace | der Spiegel | el espejo
garden | le jardin | der Garten | el jardín / el huerto
street | la rue | die Straße | la calle
city | la ville | die Stadt | la ciudad
village | le village | das Dorf | el pueblo / la aldea
church | l'église | die Kirche | la iglesia
school | l'école | die Schule | la escuela / el colegio
hospital | l'hôpital | das Krankenhaus / das Spital | el hospital
bridge | le pont | die Brücke | el puente
castle | le château | das Schloss / die Burg | el castillo
market | le marché | der Markt | el mercado
library | la bibliothèque | die Bibliothek / die Bücherei | la biblioteca
station | la gare / la station | der Bahnhof / die Station | la estación
ship | le navire / le bateau | das Schiff | el barco / el buque / la nave
boat | le bateau | das Boot | el barco / el bote / la barca
train | le train | der Zug | el tren
car | la voiture / l'auto | das Auto / der Wagen | el coche / el carro / el auto
bicycle | le vélo / la bicyclette | das Fahrrad | la bicicleta
airplane | l'avion | das Flugzeug | el avión
bread | le pain | das Brot | el pan
butter | le beurre | die Butter | la mantequilla / la manteca
cheese | le fromage | der Käse | el queso
milk | le lait | die Milch | la leche
water | l'eau | das Wasser | el agua
wine | le vin | der Wein | el vino
beer | la bière | das Bier | la cerveza
coffee | le café | der Kaffee | el café
tea | le thé | der Tee | el té
sugar | le sucre | der Zucker | el azúcar
salt | le sel | das Salz | la sal
egg | l'œuf / l'oeuf | das Ei | el huevo
meat | la viande | das Fleisch | la carne
apple | la pomme | der Apfel | la manzana
pear | la poire | die Birne | la pera
cherry | la cerise | die Kirsche | la cereza
strawberry | la fraise | die Erdbeere | la fresa / la frutilla
potato | la pomme de terre / la patate | die Kartoffel | la patata / la papa
onion | l'oignon / l'ognon | die Zwiebel | la cebolla
cake | le gâteau | der Kuchen / die Torte | el pastel / la tarta / la torta
soup | la soupe | die Suppe | la sopa
knife | le couteau | das Messer | el cuchillo
fork | la fourchette | die Gabel | el tenedor
spoon | la cuillère / la cuiller | der Löffel | la cuchara
plate | l'assiette | der Teller | el plato
glass | le verre | das Glas | el vaso / el vidrio / el cristal
bottle | la bouteille | die Flasche | la botella
sun | le soleil | die Sonne | el sol
moon | la lune | der Mond | la luna
star | l'étoile | der Stern | la estrella
sky | le ciel | der Himmel | el cielo
cloud | le nuage | die Wolke | la nube
rain | la pluie | der Regen | la lluvia
snow | la neige | der Schnee | la nieve
wind | le vent | der Wind | el viento
fire | le feu | das Feuer | el fuego
earth | la terre | die Erde | la tierra
sea | la mer | das Meer / die See | el mar
river | la rivière / le fleuve | der Fluss | el río
lake | le lac | der See | el lago
mountain | la montagne | der Berg | la montaña
forest | la forêt | der Wald | el bosque / la selva
tree | l'arbre | der Baum | el árbol
flower | la fleur | die Blume | la flor
grass | l'herbe | das Gras | la hierba / el césped / el pasto
leaf | la feuille | das Blatt | la hoja
stone | la pierre | der Stein | la piedra
island | l'île / l'ile | die Insel | la isla
beach | la plage | der Strand | la playa
head | la tête | der Kopf | la cabeza
eye | l'œil / l'oeil | das Auge | el ojo
ear | l'oreille | das Ohr | la oreja / el oído
nose | le nez | die Nase | la nariz
mouth | la bouche | der Mund | la boca
tooth | la dent | der Zahn | el diente
hand | la main | die Hand | la mano
finger | le doigt | der Finger | el dedo
arm | le bras | der Arm | el brazo
leg | la jambe | das Bein | la pierna
foot | le pied | der Fuß | el pie
heart | le cœur / le coeur | das Herz | el corazón
blood | le sang | das Blut | la sangre
hair | les cheveux / le cheveu / le poil | das Haar / die Haare | el pelo / el cabello
skin | la peau | die Haut | la piel
man | l'homme | der Mann | el hombre
woman | la femme | die Frau | la mujer
child | l'enfant | das Kind | el niño / la niña
boy | le garçon | der Junge / der Knabe | el niño / el chico / el muchacho
girl | la fille | das Mädchen | la niña / la chica / la muchacha
mother | la mère | die Mutter | la madre
father | le père | der Vater | el padre
brother | le frère | der Bruder | el hermano
sister | la sœur / la soeur | die Schwester | la hermana
son | le fils | der Sohn | el hijo
daughter | la fille | die Tochter | la hija
friend | l'ami / l'amie | der Freund / die Freundin | el amigo / la amiga
king | le roi | der König | el rey
queen | la reine | die Königin | la reina
teacher | le professeur / l'enseignant / le maître | der Lehrer / die Lehrerin | el profesor / la profesora / el maestro
doctor | le médecin / le docteur | der Arzt / der Doktor / die Ärztin | el médico / el doctor
book | le livre | das Buch | el libro
letter | la lettre | der Brief / der Buchstabe | la carta / la letra
newspaper | le journal | die Zeitung | el periódico / el diario
paper | le papier | das Papier | el papel
pen | le stylo | der Stift / der Kugelschreiber / die Feder | el bolígrafo / la pluma / el lapicero
word | le mot | das Wort | la palabra
number | le nombre / le numéro / le chiffre | die Zahl / die Nummer | el número
picture | l'image / la photo / le tableau | das Bild | la imagen / la foto / el cuadro
music | la musique | die Musik | la música
song | la chanson | das Lied | la canción
game | le jeu | das Spiel | el juego
ball | la balle / le ballon / la boule | der Ball | la pelota / el balón / la bola
money | l'argent | das Geld | el dinero
gold | l'or | das Gold | el oro
silver | l'argent | das Silber | la plata
iron | le fer | das Eisen | el hierro
wood | le bois | das Holz | la madera
shoe | la chaussure / le soulier | der Schuh | el zapato
shirt | la chemise | das Hemd | la camisa
dress | la robe | das Kleid | el vestido
coat | le manteau | der Mantel | el abrigo
hat | le chapeau | der Hut | el sombrero
ring | la bague / l'anneau | der Ring | el anillo / la sortija
clock | l'horloge / la pendule | die Uhr | el reloj
day | le jour / la journée | der Tag | el día
night | la nuit | die Nacht | la noche
morning | le matin / la matinée | der Morgen / der Vormittag | la mañana
week | la semaine | die Woche | la semana
month | le mois | der Monat | el mes
summer | l'été | der Sommer | el verano
winter | l'hiver | der Winter | el invierno
time | le temps / l'heure | die Zeit | el tiempo / la hora
life | la vie | das Leben | la vida
death | la mort | der Tod | la muerte
love | l'amour | die Liebe | el amor
war | la guerre | der Krieg | la guerra
peace | la paix | der Frieden | la paz
dream | le rêve | der Traum | el sueño
truth | la vérité | die Wahrheit | la verdad
work | le travail | die Arbeit | el trabajo
language | la langue / le langage | die Sprache | el idioma / la lengua / el lenguaje
"""
