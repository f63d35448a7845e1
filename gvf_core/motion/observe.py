"""What one frame of the video says about where surface points should go.

Four kinds of evidence, each turned into `Observations`: optical flow from the drawn estimate to the frame
(far), differences in colour and coverage (near), silhouettes, and parts of the frame that nothing covers.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from gvf_core.geometry.mesh import SurfacePoints
from gvf_core.motion.body import Body, Pose
from gvf_core.motion.gauss_newton import Observations
from gvf_core.motion.picture import Nearest, Picture
from gvf_core.rendering import Camera
from gvf_core.rendering.mesh import MeshPixels, rasterize_mesh

REFERENCE_SCALE = 140.0
"""Pixels per unit of length at which the constants below were found; they scale with the picture."""
MAX_PIXELS = 3000
"""At most so many pixels of a picture are observed; the solver's time grows with them."""
MAX_CONTOUR = 800
MAX_UNCOVERED = 600
FLOW_COLOR_TOLERANCE = 0.15
"""Summed colour difference at which a flow vector counts half: it probably left its surface."""
LUCAS_KANADE_TOLERANCE = 0.2
"""Difference in one channel at which it counts half."""
UNCOVERED = 0.35
"""Summed difference in colour and coverage from which a pixel of the frame counts as unexplained."""
COLOR_PIXELS = 60.0
"""A colour difference of 1 counts like this many pixels in the search for what should cover a pixel."""
COVER_REACH = 40.0
"""Pixels, colours included, beyond which nothing is pulled to an uncovered pixel."""
COVER_CANDIDATES = 5000
"""So many surface points may be pulled to uncovered pixels; all 20k took a third of the tracking time."""
CONTOUR_REACH = 30.0
"""Pixels beyond which a missing part of the contour pulls nothing."""
CONTOUR_TOLERANCE = 15.0
"""Pixels between contours at which their pull counts half."""


@dataclass
class Estimate:
    """A pose drawn for comparison with a frame.

    Attributes:
        vertices: Vertices in the pose.
        picture: What the camera sees.
        pixels: Surface point under each pixel.
    """

    vertices: Float[np.ndarray, "vertices 3"]
    picture: Picture
    pixels: MeshPixels


@dataclass
class Observer:
    """Compares poses of a body with frames seen by one camera.

    Attributes:
        body: The asset.
        camera: Camera of the frames.
        background: Grey value behind both pictures, chosen to contrast with the asset.
        rng: Source of the choice of pixels; each kind of evidence has a child of it, so that all can be sought at once.
    """

    body: Body
    camera: Camera
    background: float
    rng: np.random.Generator
    _flow: cv2.DISOpticalFlow = field(init=False)

    def __post_init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._inside_rng, self._contour_rng, self._uncovered_rng = self.rng.spawn(3)
        fx, fy, _, _ = self.camera.pixel_intrinsics
        pixels_per_unit = (fx + fy) / 2 / np.linalg.norm(self.camera.position)
        self._zoom = pixels_per_unit / REFERENCE_SCALE
        points = self.body.points
        kept = slice(None, None, max(1, len(points.triangle) // COVER_CANDIDATES))
        self._candidates = SurfacePoints(points.triangle[kept], points.barycentric[kept])
        self._candidate_colors = self.body.colors[kept]

    def picture(self, pose: Pose) -> Picture:
        """What the camera sees of a pose."""
        return Picture(self.body.draw(pose, self.camera), self.background)

    def draw(self, pose: Pose) -> Estimate:
        """A pose for comparison with frames."""
        vertices = self.body.deform(pose)
        return Estimate(
            vertices,
            self.picture(pose),
            rasterize_mesh(vertices, self.body.triangles, self.camera),
        )

    def flow(self, estimate: Estimate, frame: Picture) -> Observations:
        """Optical flow (Kroeger et al., DIS) from the estimate to the frame at visible surface points."""
        drawn, seen = estimate.picture, frame
        height, width = seen.gray.shape
        field_ = self._flow.calc(drawn.gray, seen.gray, np.zeros((height, width, 2), np.float32))
        rows, columns = _choose(estimate.pixels.triangle >= 0, MAX_PIXELS, self._inside_rng)
        motion = field_[rows, columns].astype(np.float64)
        x = np.clip(np.round(columns + motion[:, 0]).astype(int), 0, width - 1)
        y = np.clip(np.round(rows + motion[:, 1]).astype(int), 0, height - 1)
        difference = np.abs(drawn.composed[rows, columns] - seen.composed[y, x]).sum(axis=1)
        weight = np.where(seen.opaque[y, x], 1 / (1 + (difference / FLOW_COLOR_TOLERANCE) ** 2), 0.02)
        return self._at_pixels(estimate, rows, columns, motion, self._share(weight, len(rows)))

    def photometric(self, estimate: Estimate, frame: Picture, blur: float) -> Observations:
        """Lucas-Kanade steps on colour and coverage, both blurred by `blur` pixels."""
        drawn, seen = estimate.picture.blurred(blur), frame.blurred(blur)
        rows, columns = _choose(estimate.pixels.triangle >= 0, MAX_PIXELS, self._inside_rng)
        middle = (drawn + seen) / 2
        gx = cv2.Sobel(middle, cv2.CV_32F, 1, 0, scale=1 / 8)[rows, columns].astype(np.float64)
        gy = cv2.Sobel(middle, cv2.CV_32F, 0, 1, scale=1 / 8)[rows, columns].astype(np.float64)
        error = (seen - drawn)[rows, columns].astype(np.float64)
        robust = 1 / (1 + (np.abs(error) / LUCAS_KANADE_TOLERANCE) ** 2)
        xx, xy, yy = (robust * gx * gx).sum(1), (robust * gx * gy).sum(1), (robust * gy * gy).sum(1)
        bx, by = -(robust * gx * error).sum(1), -(robust * gy * error).sum(1)
        # Normalised by its own size, then factored, so that two scalar rows carry the 2x2 structure tensor:
        # a point on an edge is held across the edge only.
        size = 0.002 + (xx + yy) / 2
        xx, xy, yy, bx, by = xx / size, xy / size, yy / size, bx / size, by / size
        l11 = np.sqrt(xx + 1e-8)
        l21 = xy / l11
        l22 = np.sqrt(np.maximum(yy - l21**2, 1e-8))
        r1 = bx / l11
        r2 = (by - l21 * r1) / l22
        residual = np.stack([r1, r2], axis=1)
        length = np.linalg.norm(residual, axis=1, keepdims=True)
        residual *= np.minimum(1, 2 * max(blur, 1.0) / np.maximum(length, 1e-9))
        observations = self._at_pixels(estimate, rows, columns, residual, self._share(np.ones(len(rows)), len(rows)))
        jacobian = np.empty_like(observations.jacobian)
        jacobian[:, 0] = l11[:, None] * observations.jacobian[:, 0] + l21[:, None] * observations.jacobian[:, 1]
        jacobian[:, 1] = l22[:, None] * observations.jacobian[:, 1]
        return observations._replace(jacobian=jacobian)

    def silhouette(self, estimate: Estimate, frame: Picture, strength: float = 0.3) -> Observations:
        """Contours that lie apart pull their nearest surface points across, along the connecting line."""
        drawn, seen = estimate.picture, frame
        starts, ends = [np.zeros((0, 2), int)], [np.zeros((0, 2), int)]
        if drawn.opaque.any() and seen.opaque.any():
            sticking_out = np.argwhere(drawn.contour & (seen.nearest_opaque.distance > 0.7))
            starts.append(sticking_out)
            ends.append(seen.nearest_opaque.to(sticking_out))
            distance = drawn.nearest_opaque.distance
            missing = np.argwhere(seen.contour & (distance > 0.7) & (distance < CONTOUR_REACH * self._zoom))
            starts.append(drawn.nearest_opaque.to(missing))
            ends.append(missing)
        start, end = np.concatenate(starts), np.concatenate(ends)
        on_surface = estimate.pixels.triangle >= 0
        if len(start) == 0 or not on_surface.any():
            return _nothing()
        if len(start) > MAX_CONTOUR:
            kept = self._contour_rng.permutation(len(start))[:MAX_CONTOUR]
            start, end = start[kept], end[kept]
        wanted = (end - start)[:, ::-1].astype(np.float64)
        rows, columns = Nearest(on_surface).to(start).T
        length = np.linalg.norm(wanted, axis=1, keepdims=True)
        weight = strength / (1 + (length[:, 0] / (CONTOUR_TOLERANCE * self._zoom)) ** 2)
        visible = min(MAX_PIXELS, int(on_surface.sum()))
        observations = self._at_pixels(estimate, rows, columns, wanted, self._share(weight, visible))
        across = np.zeros_like(observations.jacobian)
        across[:, 0] = np.einsum("nc,ncd->nd", wanted / np.maximum(length, 1e-6), observations.jacobian)
        residual = np.concatenate([length, np.zeros_like(length)], axis=1)
        return observations._replace(jacobian=across, residual=residual)

    def coverage(self, estimate: Estimate, frame: Picture, strength: float = 0.5) -> Observations:
        """Unexplained pixels pull the nearest Gaussian of their colour, hidden ones too."""
        drawn, seen = estimate.picture, frame
        alpha = np.abs(drawn.premultiplied[..., 3] - seen.premultiplied[..., 3])
        difference = np.abs(drawn.composed - seen.composed).sum(axis=2) + alpha
        rows, columns = _choose(seen.opaque & (difference > UNCOVERED), MAX_UNCOVERED, self._uncovered_rng)
        if len(rows) < 6:
            return _nothing()
        body = self.body
        points = self._candidates
        position = points.positions(estimate.vertices, body.triangles)
        pixel = self.camera.project(position)[0] - 0.5
        reach = COLOR_PIXELS * self._zoom
        tree = cKDTree(np.concatenate([pixel, reach * self._candidate_colors], axis=1))
        query = np.concatenate([np.stack([columns, rows], axis=1), reach * seen.composed[rows, columns]], axis=1)
        distance, index = tree.query(query, distance_upper_bound=COVER_REACH * self._zoom)
        found = np.isfinite(distance)
        index = index[found]
        residual = np.stack([columns, rows], axis=1)[found] - pixel[index]
        visible = min(MAX_PIXELS, int((estimate.pixels.triangle >= 0).sum()))
        return Observations(
            corners=body.triangles[points.triangle[index]],
            barycentric=points.barycentric[index],
            jacobian=self._jacobian(position[index]),
            residual=residual,
            weight=self._share(np.full(len(index), strength), visible),
        )

    def _at_pixels(
        self, estimate: Estimate, rows: np.ndarray, columns: np.ndarray, residual: np.ndarray, weight: np.ndarray
    ) -> Observations:
        corners = self.body.triangles[estimate.pixels.triangle[rows, columns]]
        barycentric = estimate.pixels.barycentric[rows, columns].astype(np.float64)
        position = (estimate.vertices[corners] * barycentric[:, :, None]).sum(axis=1)
        return Observations(corners, barycentric, self._jacobian(position), residual, weight)

    def _jacobian(self, position: np.ndarray) -> Float[np.ndarray, "points 2 3"]:
        """Derivative of the pixel coordinates by the world position."""
        rotation, translation = self.camera.world_to_camera[:3, :3], self.camera.world_to_camera[:3, 3]
        x, y, z = (position @ rotation.T + translation).T
        fx, fy, _, _ = self.camera.pixel_intrinsics
        zero = np.zeros_like(z)
        rows = np.stack([np.stack([fx / z, zero, -fx * x / z**2], 1), np.stack([zero, fy / z, -fy * y / z**2], 1)], 1)
        return rows @ rotation

    def _share(self, weight: np.ndarray, visible: int) -> np.ndarray:
        """Weights such that a fully trusted picture weighs as much as there are nodes, at any resolution."""
        return weight * (len(self.body.graph.nodes) / max(1, visible) / self._zoom**2)


def _choose(mask: np.ndarray, most: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of so many set pixels."""
    rows, columns = np.nonzero(mask)
    if len(rows) > most:
        kept = rng.permutation(len(rows))[:most]
        rows, columns = rows[kept], columns[kept]
    return rows, columns


def join(*parts: Observations) -> Observations:
    """All observations together."""
    return Observations(
        corners=np.concatenate([part.corners for part in parts]),
        barycentric=np.concatenate([part.barycentric for part in parts]),
        jacobian=np.concatenate([part.jacobian for part in parts]),
        residual=np.concatenate([part.residual for part in parts]),
        weight=np.concatenate([part.weight for part in parts]),
    )


def _nothing() -> Observations:
    return Observations(
        np.zeros((0, 3), np.int32), np.zeros((0, 3)), np.zeros((0, 2, 3)), np.zeros((0, 2)), np.zeros(0)
    )
