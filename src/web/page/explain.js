// What the figures of the details mean; shown on request.

import { $ } from './dom.js';
import { t } from './language.js';

/** For the id of each figure: what it is, and what is good. */
export const MEANINGS = {
  'd-delay': 'Time from the moment the camera took a picture until this browser showed it. Under 100 ms feels immediate.',
  'd-slowest': 'One picture in twenty took at least this long. If it is far above the delay, the network is uneven.',
  'd-behind': 'How much later the sound is heard than its picture is seen. Nobody notices up to 45 ms either way.',
  'd-clock': "The largest possible difference between the device's clock and this browser's. The delay is no more exact than this.",
  'd-camera': 'The camera that these figures belong to.',
  'd-shown': 'Size of the picture as it arrives, and how many pictures are shown per second.',
  'd-received': 'Which of the available sizes the device sends to this browser. It sends less than requested where the network does not carry all.',
  'd-source': 'Where the picture comes from.',
  'd-why': 'Why this camera was chosen, if there was a choice.',
  'd-reason': 'What the system reported about the device that is gone.',
  'd-mode': 'What the camera was asked for and agreed to: size, pictures per second and pixel format.',
  'd-wanted': 'What device.toml asks for. The camera has no such mode and gives the nearest one.',
  'd-delivered': 'How many pictures per second the camera really delivers. Many cameras deliver fewer in the dark.',
  'd-reduced': 'What the board can manage at the moment. It returns to the full size and rate by itself.',
  'd-encoder': 'What compresses the pictures for the network, and the bitrate that it may use.',
  'd-codec': 'What decompresses the pictures in this browser.',
  'd-video-rate': 'Video data that arrives per second.',
  'd-dropped': 'Pictures that this browser had no time to show.',
  'd-audio': 'Where the sound comes from.',
  'd-audio-why': 'Why this microphone was chosen, if there was a choice.',
  'd-audio-reason': 'What the system reported about the device that is gone.',
  'd-audio-rate': 'Audio data that arrives per second.',
  'd-drift': "How much faster or slower the microphone's clock runs than the device's. It is corrected continuously.",
  'd-rtt': 'Time that a packet takes to the device and back on the path of the picture.',
  'd-ws-rtt': 'The same for the control connection.',
  'd-lost': 'Share of recent packets that never arrived. You can see and hear more than 2 %.',
  'd-link': 'The bitrate that the network carries to this browser, as far as the device has tried; what waits in the network; and what the device concludes.',
  'd-path': 'How the picture gets here: straight from the device, or through a relay.',
  'd-viewers': 'How many are watching now, and how many can watch at most.',
  'd-board': 'What the board reports about its temperature and power supply.',
  'd-uptime': 'How long peercam has been running on the device.',
  'd-version': 'Version of peercam on the device.',
  'd-viewer': 'ID of this connection on the device. Keep it secret: anyone who knows it can end the connection.',
};

/** Writes the explanations below the figures. */
export function explain() {
  for (const [id, text] of Object.entries(MEANINGS)) {
    const means = Object.assign(document.createElement('dd'), { className: 'means', textContent: t(text) });
    $(id).parentElement.append(means);
  }
}
