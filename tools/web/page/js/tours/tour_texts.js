/* tour_texts.js: the texts of the guided tours, English beside Japanese. */
export const tourTexts = {};
