"""Network weights over HTTP: /v1/models."""

from fastapi import APIRouter

from server.descriptions import Acknowledgement, WeightsWish
from server.service import Service
from server.weights import WeightsDownload, WeightsList


def weights_routes(service: Service) -> APIRouter:
    """The routes of weights."""
    router = APIRouter(tags=["weights"])
    weights = service.weights

    @router.get("/v1/models")
    def list_models() -> WeightsList:
        """Every network's weights, whether they are installed on this machine, and the newest download."""
        return weights.listing()

    @router.post("/v1/models/download", status_code=202)
    def download_models(wish: WeightsWish) -> WeightsDownload:
        """Fetch from their publishers what is missing; GET /v1/models shows the progress. 409 while another runs."""
        return weights.download(wish.names, wish.accept_unstated_licences)

    @router.post("/v1/models/download/cancel")
    def cancel_download() -> WeightsList:
        """Stop the download, if one runs; what arrived is kept for the next one."""
        weights.cancel()
        return weights.listing()

    @router.delete("/v1/models/{name}")
    def remove_model(name: str) -> Acknowledgement:
        """Delete installed weights of the released set."""
        weights.remove(name)
        return Acknowledgement("removed")

    return router
