// What the figures of the details mean, for whoever asks for it.

import { $ } from './dom.js';
import { t } from './language.js';

/** By the id of a figure: what it is, and what is good. */
export const MEANINGS = {
  'd-delay': 'From the moment in which the camera took a picture until this browser showed it. Under 100 ms feels like now.',
  'd-slowest': 'One of twenty pictures took at least so long. Far above the one before: the network is uneven.',
  'd-behind': 'How much later the sound is heard than its picture is seen. Up to 45 ms either way nobody notices.',
  'd-clock': "How far the two clocks, the device's and this browser's, may be apart. The delay is no more exact than this.",
  'd-camera': 'The camera that these figures are of.',
  'd-shown': 'Size of the picture as it arrives, and how many are shown in a second.',
  'd-received': 'Which of the sizes the device sends to this browser.',
  'd-source': 'Where the picture comes from.',
  'd-why': 'Why this camera was taken, where there was a choice.',
  'd-reason': 'What the system said of the device that is gone.',
  'd-mode': 'What the camera was asked for and agreed to: size, pictures in a second, and how they are packed.',
  'd-wanted': 'What device.toml asks for. The camera has no such mode, and gives the nearest.',
  'd-delivered': 'How many pictures in a second the camera really gives. Many give fewer when it is dark.',
  'd-reduced': 'The board does not carry more for now. It goes back by itself.',
  'd-encoder': 'What packs the pictures for the network, and how many bits a second it may use.',
  'd-codec': 'What unpacks the pictures in this browser.',
  'd-video-rate': 'How many bits of picture arrive in a second.',
  'd-dropped': 'Pictures that this browser had no time to show.',
  'd-audio': 'Where the sound comes from.',
  'd-audio-why': 'Why this microphone was taken, where there was a choice.',
  'd-audio-reason': 'What the system said of the device that is gone.',
  'd-audio-rate': 'How many bits of sound arrive in a second.',
  'd-drift': "How much faster or slower the microphone's clock runs than the device's. It is corrected all the time.",
  'd-rtt': 'How long the network takes there and back, on the way that the picture takes.',
  'd-ws-rtt': 'The same on the way of the messages.',
  'd-lost': 'Packets of the last seconds that never came. Over 2 % is seen and heard.',
  'd-path': 'By which way the picture comes: straight from the device, or by a relay.',
  'd-viewers': 'How many watch now, and how many may.',
  'd-board': 'What the board says of its temperature and its power supply.',
  'd-uptime': 'Since when peercam has been running on the device.',
  'd-version': 'Version of peercam on the device.',
  'd-viewer': 'What the device calls this connection. It is a secret: whoever knows it can end the connection.',
};

/** Writes them below the figures. */
export function explain() {
  for (const [id, text] of Object.entries(MEANINGS)) {
    const means = Object.assign(document.createElement('dd'), { className: 'means', textContent: t(text) });
    $(id).parentElement.append(means);
  }
}
